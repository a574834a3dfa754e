/** Weights of a row that share one scale and one zero point. */
export const blockSize = 32

/** Blocks of a row; the last one is filled up with zeros. */
export const blocksIn = (columns: number): number => Math.ceil(columns / blockSize)

export interface QuantisedRows {
  /** `round(weight / scale) + zeroPoint` of each weight, from 0 to 2^bits − 1; [rows, blocks, 32]. */
  readonly quants: Uint8Array
  /** [rows, blocks] */
  readonly scales: Float32Array
  /** [rows, blocks] */
  readonly zeroPoints: Uint8Array
}

/**
 * Weights as ONNX Runtime's MatMulNBits reads them: blocks of 32 along a row, weight = (quant − zero point) · scale.
 * Each block's range is widened to hold 0, which it represents exactly. With four bits the range is the one, among
 * narrower ones, that has the smallest square error.
 *
 * @param weights whole rows of `columns` weights, one after the other
 */
export function quantiseRows(
  weights: Float32Array,
  { columns, bits }: { columns: number; bits: 4 | 8 },
): QuantisedRows {
  const rows = weights.length / columns
  const blocks = blocksIn(columns)
  const quants = new Uint8Array(rows * blocks * blockSize)
  const scales = new Float32Array(rows * blocks)
  const zeroPoints = new Uint8Array(rows * blocks)
  const rangeOf = bits === 4 ? nearestRange : wholeRange
  const highest = 2 ** bits - 1
  for (let block = 0; block < rows * blocks; block++) {
    const start = Math.floor(block / blocks) * columns + (block % blocks) * blockSize
    const own = weights.subarray(start, start + Math.min(blockSize, columns - (block % blocks) * blockSize))
    const range = rangeOf(own, highest)
    scales[block] = range.scale
    zeroPoints[block] = range.zeroPoint
    const at = block * blockSize
    quants.fill(range.zeroPoint, at, at + blockSize)
    for (let i = 0; i < own.length; i++) quants[at + i] = quantOf(own[i] ?? 0, range, highest)
  }
  return { quants, scales, zeroPoints }
}

interface Range {
  readonly scale: number
  readonly zeroPoint: number
}

function quantOf(weight: number, { scale, zeroPoint }: Range, highest: number): number {
  const quant = Math.round(weight / scale) + zeroPoint
  return quant < 0 ? 0 : quant > highest ? highest : quant
}

/** The range from the smallest weight, or 0, to the largest, or 0. */
function wholeRange(weights: Float32Array, highest: number): Range {
  let low = 0
  let high = 0
  for (const weight of weights) {
    if (weight < low) low = weight
    else if (weight > high) high = weight
  }
  const scale = Math.fround((high - low) / highest) || 1
  return { scale, zeroPoint: Math.round(-low / scale) }
}

/** Shares of the whole range that are tried. */
const shares = [1, 0.95, 0.9, 0.85, 0.8, 0.75]

/** Tries narrower ranges: with few bits, cutting off the ends may cost less than the wider steps of the whole range. */
function nearestRange(weights: Float32Array, highest: number): Range {
  const whole = wholeRange(weights, highest)
  let best = whole
  let least = Number.POSITIVE_INFINITY
  for (const share of shares)
    for (let zeroPoint = whole.zeroPoint - 1; zeroPoint <= whole.zeroPoint + 1; zeroPoint++) {
      if (zeroPoint < 0 || zeroPoint > highest) continue
      const fitted = leastSquares(weights, { scale: whole.scale * share, zeroPoint }, highest)
      if (fitted.error >= least) continue
      least = fitted.error
      best = fitted
    }
  return best
}

/** The scale that fits best what these quants stand for, and the square error that is left. */
function leastSquares(weights: Float32Array, range: Range, highest: number): Range & { error: number } {
  let product = 0
  let square = 0
  let weightSquare = 0
  for (let i = 0; i < weights.length; i++) {
    const weight = weights[i] ?? 0
    const steps = quantOf(weight, range, highest) - range.zeroPoint
    product += weight * steps
    square += steps * steps
    weightSquare += weight * weight
  }
  if (square === 0 || product <= 0) return { ...range, error: weightSquare }
  return {
    scale: Math.fround(product / square),
    zeroPoint: range.zeroPoint,
    error: weightSquare - product ** 2 / square,
  }
}

/** weight = (quant − zero point) · scale: rows of `columns` without what fills up their last block. */
export function dequantiseRows(
  { rows, columns }: { rows: number; columns: number },
  { quants, scales, zeroPoints }: QuantisedRows,
): Float32Array {
  const blocks = blocksIn(columns)
  const weights = new Float32Array(rows * columns)
  for (let row = 0; row < rows; row++)
    for (let block = 0; block < blocks; block++) {
      const at = row * blocks + block
      const [scale = 0, zeroPoint = 0] = [scales[at], zeroPoints[at]]
      const count = Math.min(blockSize, columns - block * blockSize)
      for (let i = 0; i < count; i++)
        weights[row * columns + block * blockSize + i] =
          ((quants[at * blockSize + i] ?? 0) - zeroPoint) * scale
    }
  return weights
}

/** Numbers of four bits, two a byte, the first in the low half; every `length` of them begin with a whole byte. */
export function pairs(values: Uint8Array, length: number): Uint8Array {
  const bytes = Math.ceil(length / 2)
  const packed = new Uint8Array((values.length / length) * bytes)
  for (let from = 0, at = 0; from < values.length; from += length, at += bytes)
    for (let i = 0; i < length; i += 2) {
      const high = i + 1 < length ? (values[from + i + 1] ?? 0) : 0
      packed[at + (i >> 1)] = (values[from + i] ?? 0) | (high << 4)
    }
  return packed
}

/** The values that `pairs` has packed. */
export function unpaired(packed: Uint8Array, length: number): Uint8Array {
  const bytes = Math.ceil(length / 2)
  const values = new Uint8Array((packed.length / bytes) * length)
  for (let from = 0, at = 0; at < packed.length; from += length, at += bytes)
    for (let i = 0; i < length; i++) {
      const byte = packed[at + (i >> 1)] ?? 0
      values[from + i] = i % 2 === 0 ? byte & 15 : byte >> 4
    }
  return values
}
