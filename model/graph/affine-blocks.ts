import { blockSize, blocksIn, isWhole, rowBlocks } from './quantise.ts'

/** The largest quant of four bits. */
const highest = 15
/** The quant that stands for a block's offset. It lies in the middle, so products of the rest are small. */
export const centre = 8

export interface AffineRows {
  /** From 0 to 15; [rows, blocks, 32]. What fills up a last block is `centre`. */
  readonly quants: Uint8Array
  /** [rows, blocks] */
  readonly scales: Float32Array
  /** The weight that a quant of 8 stands for; [rows, blocks]. */
  readonly offsets: Float32Array
}

/**
 * Weights in four bits, in blocks of 32 along a row: weight = (quant − 8) · scale + offset. A block whose weights lie on at
 * most 16 steps of one size, as those of Q4_0, Q4_1 and Q4_K in a GGUF file do, keeps them; another one gets the scale and the
 * offset with a small square error.
 *
 * @param weights whole rows of `columns` weights, one after the other
 */
export function affineRows(weights: Float32Array, columns: number): AffineRows {
  const blocks = (weights.length / columns) * blocksIn(columns)
  const quants = new Uint8Array(blocks * blockSize).fill(centre)
  const scales = new Float32Array(blocks)
  const offsets = new Float32Array(blocks)
  for (const { block, own } of rowBlocks(weights, columns)) {
    const line = exactLine(own) ?? nearestLine(own)
    scales[block] = line.scale
    offsets[block] = line.low + centre * line.scale
    for (const [i, weight] of own.entries()) quants[block * blockSize + i] = quantOf(weight, line)
  }
  return { quants, scales, offsets }
}

/** The weights of a block on a line: `low` + quant · `scale`. */
interface Line {
  readonly low: number
  readonly scale: number
}

function quantOf(weight: number, { low, scale }: Line): number {
  const quant = Math.round((weight - low) / scale)
  return quant < 0 ? 0 : quant > highest ? highest : quant
}

/** The line that all weights lie on with the fewest steps, if there is one. */
function exactLine(weights: Float32Array): Line | undefined {
  const levels = [...new Set(weights)].sort((a, b) => a - b)
  const [first = 0] = levels
  const last = levels.at(-1) ?? 0
  if (levels.length > highest + 1) return undefined
  // All the same: no steps. A scale of their own size keeps the smallest ones too.
  if (first === last) {
    const scale = Math.abs(first) || 1
    return { low: first - centre * scale, scale }
  }
  for (let steps = levels.length - 1; steps <= highest; steps++) {
    const scale = (last - first) / steps
    if (!levels.every((level) => isWhole((level - first) / scale))) continue
    const fitted = lineOf(weights, { low: first, scale })
    // In the middle of the quants.
    return { low: fitted.low - Math.floor((highest - steps + 1) / 2) * fitted.scale, scale: fitted.scale }
  }
  return undefined
}

/** Shares of the whole range from which a line is sought. */
const shares = [1, 0.9, 0.8, 0.7]
const rounds = 4

/** Among lines that are fitted to narrower and narrower ranges, the one with the smallest square error. */
function nearestLine(weights: Float32Array): Line {
  let [low, high] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]
  for (const weight of weights) {
    if (weight < low) low = weight
    if (weight > high) high = weight
  }
  let best: Line = { low, scale: (high - low) / highest }
  let least = Number.POSITIVE_INFINITY
  for (const share of shares) {
    const cut = ((1 - share) / 2) * (high - low)
    let line: Line = { low: low + cut, scale: ((high - low) * share) / highest }
    for (let round = 0; round < rounds; round++) {
      line = lineOf(weights, line)
      const error = squareError(weights, line)
      if (error >= least) continue
      least = error
      best = line
    }
  }
  return best
}

/** The line with the smallest square error for the quants that another line gives. */
function lineOf(weights: Float32Array, line: Line): Line {
  let [sum, quantSum, product, square] = [0, 0, 0, 0]
  for (const weight of weights) {
    const quant = quantOf(weight, line)
    sum += weight
    quantSum += quant
    product += weight * quant
    square += quant * quant
  }
  const count = weights.length
  const spread = count * square - quantSum * quantSum
  if (spread === 0) return line
  const scale = (count * product - quantSum * sum) / spread
  return scale > 0 ? { low: (sum - scale * quantSum) / count, scale } : line
}

function squareError(weights: Float32Array, line: Line): number {
  let error = 0
  for (const weight of weights) error += (weight - line.low - quantOf(weight, line) * line.scale) ** 2
  return error
}

/** weight = (quant − 8) · scale + offset: rows of `columns` without what fills up their last block. */
export function fromAffineRows(
  { rows, columns }: { rows: number; columns: number },
  { quants, scales, offsets }: AffineRows,
): Float32Array {
  const blocks = blocksIn(columns)
  const weights = new Float32Array(rows * columns)
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++) {
      const block = row * blocks + Math.floor(column / blockSize)
      const quant = quants[block * blockSize + (column % blockSize)] ?? centre
      weights[row * columns + column] = (quant - centre) * (scales[block] ?? 0) + (offsets[block] ?? 0)
    }
  return weights
}
