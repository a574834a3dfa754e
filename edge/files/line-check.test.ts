import { describe, expect, test } from 'vitest'
import type { FilePurpose } from '../../shared/api/files.ts'
import { maxLineBytes } from '../../shared/api/files.ts'
import { LineCheck } from './line-check.ts'

function check(
  text: string | Uint8Array,
  { purpose = 'fine-tune', chunkBytes = 5 }: { purpose?: FilePurpose; chunkBytes?: number } = {},
): number {
  const bytes = typeof text === 'string' ? new TextEncoder().encode(text) : text
  const lines = new LineCheck(purpose)
  for (let at = 0; at < bytes.length; at += chunkBytes) lines.push(bytes.subarray(at, at + chunkBytes))
  lines.end()
  return lines.count
}

const good = '{"messages":[{"role":"user","content":"é?"},{"role":"assistant","content":"ja"}]}'
const wrong = (text: string | Uint8Array, message: RegExp) =>
  expect(() => check(text, { chunkBytes: 1_000_000 })).toThrow(
    expect.objectContaining({ code: 'training_data_invalid', message: expect.stringMatching(message) }),
  )

describe('a file of lines', () => {
  test('is read in chunks of any size, blank lines and a missing last line end aside', () => {
    for (const chunkBytes of [1, 3, 1_000]) expect(check(`${good}\n\r\n${good}`, { chunkBytes })).toBe(2)
  })

  test('is refused at its first wrong line, which is named with its key and the remedy', () => {
    wrong(`${good}\n{"messages":[{"role":"user","content":"a"}]}`, /^line 2: messages: /)
    wrong(`${good}\n\n{"prompt":1,"completion":"b"}`, /^line 3: prompt: must be a string/)
    wrong(`${good}\nnonsense`, /^line 2: it is not JSON; write one JSON object per line/)
    wrong(Uint8Array.from([0xff, 0xfe, 10]), /^line 1: it is not UTF-8/)
    wrong(
      `${good}\n{"prompt":"a","prompt":"b","completion":"c"}`,
      /^line 2: the name "prompt" stands there twice/,
    )
    wrong(`{"__proto__":{},"prompt":"a","completion":"c"}`, /^line 1: the name "__proto__" is not allowed/)
    wrong(
      `{"prompt":"a","completion":"c","odd":${'['.repeat(50_000)}${']'.repeat(50_000)}}`,
      /^line 1: lists and objects stand in one another more than \d+ deep; make it flatter/,
    )
    wrong('x'.repeat(maxLineBytes + 1), /^line 1: it has more than/)
    wrong('\n \n', /holds no lines/)
  })

  test('of requests has an id, a method, a path and a body on each line', () => {
    const line = { custom_id: '1', method: 'POST', url: '/v1/chat/completions', body: {} }
    expect(check(JSON.stringify(line), { purpose: 'batch' })).toBe(1)
    expect(() => check(JSON.stringify({ ...line, url: '/v1/audio' }), { purpose: 'batch' })).toThrow(
      /line 1: url: must be/,
    )
    const twice = JSON.stringify(line).replace('{', '{"custom_id":"0",')
    expect(() => check(twice, { purpose: 'batch' })).toThrow(
      /line 1: the name "custom_id" stands there twice/,
    )
  })
})
