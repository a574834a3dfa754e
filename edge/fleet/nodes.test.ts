import { describe, expect, test } from 'vitest'
import { parseNodes } from './nodes.ts'

describe('QUARTET_NODES', () => {
  test('is a list of ids and addresses', () => {
    expect(parseNodes('[{"id": "a", "url": "http://x:1/"}]')).toEqual([{ id: 'a', url: 'http://x:1' }])
  })
  test.each([undefined, '', '[]'])('%j is none', (json) => expect(parseNodes(json)).toEqual([]))
  test.each([
    '{}',
    'nodes',
    '[{"id": "a"}]',
    '[{"id": "a", "url": "ftp://x"}]',
    '[{"id": "a", "url": "http://user:pass@x"}]',
    '[{"id": "a", "url": "http://x/path"}]',
    '[{"id":"a","url":"http://x"},{"id":"a","url":"http://y"}]',
  ])('%j is refused with the reason', (json) => {
    expect(() => parseNodes(json)).toThrow(/QUARTET_NODES must be/)
  })
})
