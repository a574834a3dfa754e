import { expect, test } from 'vitest'
import { HeldGrammars } from './held-grammars.ts'

const hashes = (owner: string, count: number) => Array.from({ length: count }, (_, at) => `${owner}${at}`)

test('a tenant that compiles one grammar after the other drives out its own, and not those of others', () => {
  const held = new HeldGrammars(8)
  for (const hash of hashes('quiet', 4)) held.add(hash, 'quiet')
  for (const hash of hashes('busy', 100)) held.add(hash, 'busy')
  expect(hashes('quiet', 4).every((hash) => held.has(hash))).toBe(true)
  expect(hashes('busy', 100).filter((hash) => held.has(hash))).toEqual([
    'busy96',
    'busy97',
    'busy98',
    'busy99',
  ])
})

test('one alone has room for as many as are kept, and the one used longest ago goes first', () => {
  const held = new HeldGrammars(3)
  for (const hash of ['a', 'b', 'c']) expect(held.add(hash, 'one')).toEqual([])
  held.use('a', 'one')
  expect(held.add('d', 'one')).toEqual(['b'])
})

test('a grammar that another tenant uses is that one’s from then on', () => {
  const held = new HeldGrammars(4)
  held.add('shared', 'first')
  held.use('shared', 'second')
  for (const hash of hashes('first', 20)) held.add(hash, 'first')
  expect(held.has('shared')).toBe(true)
})
