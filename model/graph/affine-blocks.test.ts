import { expect, test } from 'vitest'
import { Random } from '../../shared/prng.ts'
import { randomBlocks } from '../../test/ggml-blocks.ts'
import { affineRows, centre, fromAffineRows } from './affine-blocks.ts'
import { blockSize } from './quantise.ts'

const restoredFrom = (weights: Float32Array, columns: number) =>
  fromAffineRows({ rows: weights.length / columns, columns }, affineRows(weights, columns))

test.for(['Q4_0', 'Q4_1', 'Q4_K'])('the weights of a GGUF file in %s are kept', (name) => {
  const { weights } = randomBlocks(name, 64)
  const largest = Math.max(...weights.map(Math.abs))
  for (const [i, weight] of restoredFrom(weights, weights.length / 4).entries())
    expect(Math.abs(weight - (weights[i] ?? Number.NaN))).toBeLessThan(1e-6 * largest)
})

test('blocks of few levels, of one, and of zeros are kept, also where they fill no whole block', () => {
  const levels = [-0.3, 0.1, 0.5, 0.5, 0.9]
  const columns = 40
  const weights = Float32Array.from({ length: 3 * columns }, (_, i) =>
    i < columns ? (levels[i % levels.length] ?? 0) : i < 2 * columns ? -2.5 : 0,
  )
  for (const [i, weight] of restoredFrom(weights, columns).entries())
    expect(weight).toBeCloseTo(weights[i] ?? Number.NaN, 6)
  // The filling of a block stands for the offset alone, and its inputs are zeros.
  const { quants } = affineRows(weights, columns)
  expect([...quants.subarray(columns, 2 * blockSize)]).toEqual(Array(24).fill(centre))
})

test('a block of one weight is kept to the bit, however small or large the weight', () => {
  for (const weight of [1e-45, 1e-38, -3e-12, 1e-9, 0.1, -7, 1.7e38]) {
    const weights = new Float32Array(blockSize).fill(weight)
    expect(restoredFrom(weights, blockSize)).toEqual(weights)
    expect(restoredFrom(weights.subarray(0, 3), 1)).toEqual(weights.subarray(0, 3))
  }
})

test('the largest weights that are taken, and the smallest there are, stay numbers within the range of their block', () => {
  const most = ((2 - 2 ** -23) * 2 ** 127) / 2
  for (const largest of [most, 1e-38, 1e-44])
    for (const shape of [
      (i: number) => (i % 2 ? 1 : -1),
      (i: number) => i / 15.5 - 1,
      (i: number) => i % 3,
    ]) {
      const weights = Float32Array.from({ length: blockSize }, (_, i) => (shape(i) / 2) * largest)
      const [low, high] = [Math.min(...weights), Math.max(...weights)]
      for (const [i, weight] of restoredFrom(weights, blockSize).entries())
        expect(Math.abs(weight - (weights[i] ?? Number.NaN))).toBeLessThanOrEqual((high - low) / 15)
    }
})

test('other weights lose less than with a zero point of whole steps', () => {
  const random = new Random(7)
  // A few large weights among many small ones, as trained matrices have.
  const weights = Float32Array.from(
    { length: 64 * blockSize },
    (_, i) => (random.next() - 0.5) * (i % 19 ? 1 : 3),
  )
  const squareError = (restored: Float32Array) =>
    restored.reduce((sum, x, i) => sum + (x - (weights[i] ?? 0)) ** 2, 0)
  const whole = weights.map((weight, i) => {
    const block = weights.subarray(i - (i % blockSize), i - (i % blockSize) + blockSize)
    const low = Math.min(0, ...block)
    const step = (Math.max(0, ...block) - low) / 15
    return (Math.round(weight / step) + Math.round(-low / step) - Math.round(-low / step)) * step
  })
  expect(squareError(restoredFrom(weights, weights.length))).toBeLessThan(0.9 * squareError(whole))
})

test('a block that no line fits is as near as its range allows', () => {
  const weights = Float32Array.from({ length: blockSize }, (_, i) => Math.exp(i / 8))
  const range = Math.exp(31 / 8) - 1
  for (const [i, weight] of restoredFrom(weights, blockSize).entries())
    expect(Math.abs(weight - (weights[i] ?? Number.NaN))).toBeLessThan(range / 10)
})
