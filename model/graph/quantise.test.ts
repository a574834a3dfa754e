import { expect, test } from 'vitest'
import { Random } from '../../shared/prng.ts'
import { blockSize, quantiseRows } from './quantise.ts'

test('a quantised weight is within half a step of the weight', () => {
  const random = new Random(3)
  const weights = Float32Array.from(
    { length: 40 * blockSize },
    (_, i) => (random.next() - 0.3) * 2 ** (i % 7),
  )
  const { quants, scales, zeroPoints } = quantiseRows(weights)
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
  const { quants, zeroPoints } = quantiseRows(weights)
  expect(quants[0]).toBe(zeroPoints[0])
  expect([...quants.subarray(blockSize)]).toEqual(Array(blockSize).fill(zeroPoints[1]))
})
