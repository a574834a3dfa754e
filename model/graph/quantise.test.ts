import { expect, test } from 'vitest'
import { Random } from '../../shared/prng.ts'
import { ggmlTypes } from '../import/element-types.ts'
import { blockSize, dequantiseRows, quantiseRows } from './quantise.ts'

test('a quantised weight is within half a step of the weight', () => {
  const random = new Random(3)
  const weights = Float32Array.from(
    { length: 40 * blockSize },
    (_, i) => (random.next() - 0.3) * 2 ** (i % 7),
  )
  const { quants, scales, zeroPoints } = quantiseRows(weights, { columns: weights.length, keepSteps: false })
  for (const [i, weight] of weights.entries()) {
    const block = Math.floor(i / blockSize)
    const scale = scales[block] ?? Number.NaN
    const restored = ((quants[i] ?? 0) - (zeroPoints[block] ?? 0)) * scale
    // A zero point is rounded as well, which moves the ends of the range by up to half a step.
    expect(Math.abs(restored - weight)).toBeLessThanOrEqual(scale * 1.0001)
  }
})

test('zero stays zero, whatever stands beside it', () => {
  const weights = Float32Array.from({ length: 2 * blockSize }, (_, i) => (i < blockSize ? i * 0.1 : 0))
  const { quants, zeroPoints } = quantiseRows(weights, { columns: weights.length, keepSteps: false })
  expect(quants[0]).toBe(zeroPoints[0])
  expect([...quants.subarray(blockSize)]).toEqual(Array(blockSize).fill(zeroPoints[1]))
})

test('rows that are no whole blocks are filled up, and come back without what fills them up', () => {
  const random = new Random(5)
  const shape = { rows: 3, columns: 40 }
  const weights = Float32Array.from({ length: 120 }, () => random.next() - 0.5)
  const quantised = quantiseRows(weights, { columns: 40, keepSteps: false })
  expect(quantised.quants.length).toBe(3 * 2 * blockSize)
  // The filling stands for zeros.
  expect([...quantised.quants.subarray(40, 64)]).toEqual(Array(24).fill(quantised.zeroPoints[1]))
  const restored = dequantiseRows(shape, quantised)
  for (const [i, weight] of weights.entries())
    expect(Math.abs((restored[i] ?? Number.NaN) - weight)).toBeLessThan(1 / 255)
})

/** Random blocks of a GGUF type, whose scales are between 2^−8 and 2^−7. */
function randomBlocks(name: 'Q4_0' | 'Q5_0' | 'Q8_0', count: number): Float32Array {
  const format = ggmlTypes[name]
  if (format === undefined) throw new Error(`no ${name}`)
  const random = new Random(11)
  const bytes = Uint8Array.from({ length: count * format.bytes }, () => Math.floor(random.next() * 256))
  const from = new DataView(bytes.buffer)
  for (let block = 0; block < count; block++) {
    from.setUint16(block * format.bytes, 0x1c00 | (bytes[block] ?? 0), true)
    // llama.cpp scales the largest weight of a block to the end of the range.
    if (name === 'Q8_0') from.setInt8(block * format.bytes + 2 + (block % 32), block % 2 ? 127 : -127)
    else from.setUint8(block * format.bytes + format.bytes - 16, 0)
    if (name === 'Q5_0')
      from.setUint32(block * format.bytes + 2, from.getUint32(block * format.bytes + 2, true) & ~1, true)
    for (let i = 0; name === 'Q8_0' && i < 32; i++)
      if (from.getInt8(block * format.bytes + 2 + i) === -128) from.setInt8(block * format.bytes + 2 + i, 0)
  }
  const to = new Float32Array(count * format.elements)
  format.decode({ from, count, to })
  return to
}

test.for(['Q4_0', 'Q5_0', 'Q8_0'] as const)('the steps of %s are kept where that is asked', (name) => {
  const weights = randomBlocks(name, 50)
  const shape = { rows: 1, columns: weights.length }
  const largestError = (keepSteps: boolean) => {
    const restored = dequantiseRows(shape, quantiseRows(weights, { columns: shape.columns, keepSteps }))
    return Math.max(...restored.map((x, i) => Math.abs(x - (weights[i] ?? Number.NaN))))
  }
  expect(largestError(true)).toBeLessThan(1e-7)
  expect(largestError(false)).toBeGreaterThan(1e-5)
})
