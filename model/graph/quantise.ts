/** Weights of a row that share one scale and one zero point. */
export const blockSize = 32

/** Blocks of a row; the last one is filled up with zeros. */
export const blocksIn = (columns: number): number => Math.ceil(columns / blockSize)

/** Blocks of whole rows of `columns` weights, row by row. The last block of a row may be shorter. */
export function* rowBlocks(
  weights: Float32Array,
  columns: number,
): Generator<{ readonly own: Float32Array; readonly block: number }> {
  const inRow = blocksIn(columns)
  for (let block = 0; block < (weights.length / columns) * inRow; block++) {
    const from = (block % inRow) * blockSize
    const start = Math.floor(block / inRow) * columns + from
    yield { own: weights.subarray(start, start + Math.min(blockSize, columns - from)), block }
  }
}

export interface QuantisedRows {
  /** `round(weight / scale) + zeroPoint` of each weight, from 0 to 255; [rows, blocks, 32]. */
  readonly quants: Uint8Array
  /** [rows, blocks] */
  readonly scales: Float32Array
  /** [rows, blocks] */
  readonly zeroPoints: Uint8Array
}

const highest = 255

/** How a block's weights become quants. */
export interface BlockRanges {
  /** Keeps a block whose weights are whole multiples of one step, as those of Q8_0 in a GGUF file are. */
  readonly keepSteps: boolean
}

/**
 * Weights in eight bits as ONNX Runtime's MatMulNBits reads them: blocks of 32 along a row, weight = (quant − zero point) ·
 * scale. Each block's range is widened to hold 0, which it represents exactly.
 *
 * @param weights whole rows of `columns` weights, one after the other
 */
export function quantiseRows(
  weights: Float32Array,
  { columns, keepSteps }: BlockRanges & { readonly columns: number },
): QuantisedRows {
  const blocks = (weights.length / columns) * blocksIn(columns)
  const quants = new Uint8Array(blocks * blockSize)
  const scales = new Float32Array(blocks)
  const zeroPoints = new Uint8Array(blocks)
  for (const { block, own } of rowBlocks(weights, columns)) {
    const range = (keepSteps ? stepRange(own) : undefined) ?? wholeRange(own)
    scales[block] = range.scale
    zeroPoints[block] = range.zeroPoint
    const at = block * blockSize
    quants.fill(range.zeroPoint, at, at + blockSize)
    for (let i = 0; i < own.length; i++) quants[at + i] = quantOf(own[i] ?? 0, range)
  }
  return { quants, scales, zeroPoints }
}

interface Range {
  readonly scale: number
  readonly zeroPoint: number
}

function quantOf(weight: number, { scale, zeroPoint }: Range): number {
  const quant = Math.round(weight / scale) + zeroPoint
  return quant < 0 ? 0 : quant > highest ? highest : quant
}

/** The range from the smallest weight, or 0, to the largest, or 0. */
function wholeRange(weights: Float32Array): Range {
  let low = 0
  let high = 0
  for (const weight of weights) {
    if (weight < low) low = weight
    else if (weight > high) high = weight
  }
  const scale = Math.fround((high - low) / highest) || 1
  return { scale, zeroPoint: Math.round(-low / scale) }
}

/** Steps from 0 to the largest magnitude of a block: of Q4_0, of Q5_0, of Q8_0, and of all that eight bits hold. */
const stepCounts = [8, 16, 127, 128]
/** Whether a number of steps is a whole one, as near as files tell, which compute with f16 and f32. */
export const isWhole = (steps: number): boolean => Math.abs(steps - Math.round(steps)) < 1e-3

/** The range whose steps all weights lie on, with 0 in the middle, if there is one. */
function stepRange(weights: Float32Array): Range | undefined {
  let largest = 0
  for (const weight of weights) largest = Math.max(largest, Math.abs(weight))
  if (largest === 0) return undefined
  const zeroPoint = (highest + 1) / 2
  return stepCounts
    .map((count) => ({ scale: Math.fround(largest / count), zeroPoint }))
    .find(({ scale }) =>
      weights.every((weight) => {
        const steps = weight / scale
        return isWhole(steps) && Math.round(steps) < zeroPoint
      }),
    )
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
