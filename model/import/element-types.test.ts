import { readFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { z } from 'zod'
import { ggmlTypes } from './element-types.ts'

/** Blocks and their values by the numpy implementation in llama.cpp's `gguf` Python package 0.19.0. */
const Cases = z.array(z.object({ type: z.string(), blocks: z.base64(), values: z.base64() }))
const fixture = new URL('../../test/fixtures/gguf/blocks.json', import.meta.url)
const cases = Cases.parse(JSON.parse(await readFile(fixture, 'utf8')))

test('there are reference values for every type', () => {
  expect(cases.map(({ type }) => type).sort()).toEqual(Object.keys(ggmlTypes).sort())
})

test.for(cases)('$type blocks have the values that llama.cpp gives them', ({ type, blocks, values }) => {
  const decoder = ggmlTypes[type]
  if (decoder === undefined) throw new Error(`no type ${type}`)
  const bytes = Uint8Array.from(Buffer.from(blocks, 'base64'))
  const expected = new Float32Array(Uint8Array.from(Buffer.from(values, 'base64')).buffer)
  const decoded = new Float32Array(expected.length)
  decoder.decode({ from: new DataView(bytes.buffer), count: bytes.length / decoder.bytes, to: decoded })
  for (const [i, value] of expected.entries())
    expect(Math.abs((decoded[i] ?? Number.NaN) - value)).toBeLessThanOrEqual(
      2e-7 * Math.max(1, Math.abs(value)),
    )
})
