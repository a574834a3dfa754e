import { expect, test } from 'vitest'
import { randomBlocks } from '../../test/ggml-blocks.ts'
import { fromAffineRows } from './affine-blocks.ts'
import { blockSize } from './quantise.ts'
import { symmetricRows } from './symmetric-blocks.ts'

function restoredFrom(weights: Float32Array, columns: number): Float32Array {
  const { quants, scales } = symmetricRows(weights, columns)
  const offsets = new Float32Array(scales.length)
  return fromAffineRows({ rows: weights.length / columns, columns }, { quants, scales, offsets })
}

test('the weights of a GGUF file in Q4_0 are kept to the bit, whichever quants a block has', () => {
  const { weights } = randomBlocks('Q4_0', 256)
  expect(restoredFrom(weights, weights.length / 4)).toEqual(weights)
  // Blocks without the quants at the ends, whose largest weight is not eight steps from zero.
  for (const most of [1, 2, 3, 5, 6, 7]) {
    const step = 0.0123291015625
    const narrow = Float32Array.from({ length: blockSize }, (_, i) => ((i % (2 * most + 1)) - most) * step)
    expect(restoredFrom(narrow, blockSize)).toEqual(narrow)
    expect(restoredFrom(narrow.map((weight) => -weight).fill(8 * step, 0, 1), blockSize)[0]).toBe(
      Math.fround(8 * step),
    )
  }
})

test('zeros stay zeros, and a last block that is not whole stays as it is', () => {
  const columns = 40
  const weights = Float32Array.from({ length: 2 * columns }, (_, i) => (i < columns ? 0 : (i % 8) - 4))
  expect(restoredFrom(weights, columns)).toEqual(weights)
})

test('other weights lie within a step of their largest, which is kept', () => {
  const weights = Float32Array.from({ length: blockSize }, (_, i) => Math.sin(i) * Math.exp(i / 16))
  const largest = Math.max(...weights.map(Math.abs))
  const restored = restoredFrom(weights, blockSize)
  for (const [i, weight] of restored.entries())
    expect(Math.abs(weight - (weights[i] ?? Number.NaN))).toBeLessThanOrEqual(largest / 8)
  expect(Math.max(...restored.map(Math.abs))).toBeCloseTo(largest, 5)
})
