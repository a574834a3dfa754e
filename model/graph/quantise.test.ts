import { expect, test } from 'vitest'
import { Random } from '../../shared/prng.ts'
import { blockSize, dequantiseRows, pairs, quantiseRows, unpaired } from './quantise.ts'

test('a quantised weight is within half a step of the weight', () => {
  const random = new Random(3)
  const weights = Float32Array.from(
    { length: 40 * blockSize },
    (_, i) => (random.next() - 0.3) * 2 ** (i % 7),
  )
  const { quants, scales, zeroPoints } = quantiseRows(weights, { columns: weights.length, bits: 8 })
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
  const { quants, zeroPoints } = quantiseRows(weights, { columns: weights.length, bits: 8 })
  expect(quants[0]).toBe(zeroPoints[0])
  expect([...quants.subarray(blockSize)]).toEqual(Array(blockSize).fill(zeroPoints[1]))
})

test('rows that are no whole blocks are filled up, and come back without what fills them up', () => {
  const random = new Random(5)
  const shape = { rows: 3, columns: 40 }
  const weights = Float32Array.from({ length: 120 }, () => random.next() - 0.5)
  const quantised = quantiseRows(weights, { columns: 40, bits: 8 })
  expect(quantised.quants.length).toBe(3 * 2 * blockSize)
  // The filling stands for zeros.
  expect([...quantised.quants.subarray(40, 64)]).toEqual(Array(24).fill(quantised.zeroPoints[1]))
  const restored = dequantiseRows(shape, quantised)
  for (const [i, weight] of weights.entries())
    expect(Math.abs((restored[i] ?? Number.NaN) - weight)).toBeLessThan(1 / 255)
})

test('four bits lose less by the chosen ranges than by the whole ones', () => {
  const random = new Random(7)
  // A few large weights among many small ones, as trained matrices have.
  const weights = Float32Array.from(
    { length: 64 * blockSize },
    (_, i) => (random.next() - 0.5) * (i % 19 ? 1 : 3),
  )
  const shape = { rows: 1, columns: weights.length }
  const squareError = (restored: Float32Array) =>
    restored.reduce((sum, x, i) => sum + (x - (weights[i] ?? 0)) ** 2, 0)
  const restored = dequantiseRows(shape, quantiseRows(weights, { columns: shape.columns, bits: 4 }))
  const whole = weights.map((weight, i) => {
    const block = weights.subarray(i - (i % blockSize), i - (i % blockSize) + blockSize)
    const low = Math.min(0, ...block)
    const step = (Math.max(0, ...block) - low) / 15
    return (Math.round(weight / step) + Math.round(-low / step) - Math.round(-low / step)) * step
  })
  expect(squareError(restored)).toBeLessThan(0.95 * squareError(whole))
})

test('numbers of four bits lie two a byte, the first in the low half, and come back', () => {
  expect([...pairs(Uint8Array.of(1, 2, 3, 4, 5, 6), 3)]).toEqual([0x21, 0x03, 0x54, 0x06])
  expect([...unpaired(Uint8Array.of(0x21, 0x03, 0x54, 0x06), 3)]).toEqual([1, 2, 3, 4, 5, 6])
})
