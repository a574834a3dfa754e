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

test.for(Object.entries(ggmlTypes))(
  '%s blocks whose scale is no number give no finite weight',
  ([, type]) => {
    const decoded = new Float32Array(type.elements)
    const bytes = new Uint8Array(type.bytes).fill(0xff)
    type.decode({ from: new DataView(bytes.buffer), count: 1, to: decoded })
    expect(decoded.filter((value) => Number.isFinite(value))).toEqual(new Float32Array())
  },
)

/** Types whose scale is an f16 at an even place of a block. */
const halfScaled = Object.entries(ggmlTypes).filter(([name]) => !['F32', 'BF16', 'MXFP4'].includes(name))

test.for(halfScaled)('%s blocks whose scale is infinite give weights that are not finite', ([, type]) => {
  const decoded = new Float32Array(type.elements)
  const bytes = Uint8Array.from({ length: type.bytes }, (_, at) => (at % 2 === 0 ? 0x00 : 0x7c))
  type.decode({ from: new DataView(bytes.buffer), count: 1, to: decoded })
  expect(decoded.some((value) => !Number.isFinite(value))).toBe(true)
})
