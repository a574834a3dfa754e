import { type AffineRows, centre } from './affine-blocks.ts'
import { blockSize, blocksIn, isWhole, rowBlocks } from './quantise.ts'

/** The furthest that a quant of four bits lies below the centre; above it there is one step less. */
const lowest = -centre
const highest = centre - 1

/**
 * Weights in four bits around zero, in blocks of 32 along a row: weight = (quant − 8) · scale. It keeps a block of Q4_0 of a GGUF file to
 * the bit; of another block it keeps the largest weight, as Q4_0 does, and the nearest steps.
 *
 * @param weights whole rows of `columns` weights, one after the other
 */
export function symmetricRows(weights: Float32Array, columns: number): Omit<AffineRows, 'offsets'> {
  const blocks = (weights.length / columns) * blocksIn(columns)
  const quants = new Uint8Array(blocks * blockSize).fill(centre)
  const scales = new Float32Array(blocks)
  for (const { block, own } of rowBlocks(weights, columns)) {
    const scale = stepOf(own)
    scales[block] = scale
    for (const [i, weight] of own.entries()) {
      const steps = Math.round(weight / scale)
      quants[block * blockSize + i] = centre + Math.max(lowest, Math.min(highest, steps))
    }
  }
  return { quants, scales }
}

/** The largest step that all weights are whole multiples of, if there is one; else an eighth of the largest weight. */
function stepOf(weights: Float32Array): number {
  const largest = weights.reduce((most, weight) => (Math.abs(weight) > Math.abs(most) ? weight : most), 0)
  if (largest === 0) return 1
  // Its sign takes the largest weight to the quant that has none opposite.
  const steps = Array.from({ length: -lowest }, (_, i) => largest / -(i + 1))
  const fitting = steps.find((step) =>
    weights.every((weight) => isWhole(weight / step) && Math.round(weight / step) <= highest),
  )
  return fitting ?? largest / lowest
}
