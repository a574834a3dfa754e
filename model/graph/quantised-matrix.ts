import type { GraphBuilder } from './builder.ts'
import { bytesOf } from './bytes.ts'
import { largestFloat32 } from './float-matrix.ts'
import type { MatrixFormat, MatrixShape } from './matrix-format.ts'
import { type BlockRanges, blockSize, blocksIn, dequantiseRows, quantiseRows } from './quantise.ts'
import type { Value } from './values.ts'

/** x · Wᵀ with weights of `bits` bits: their quants, scales and, where they have any, zero points. */
export function multiplyQuantised(
  g: GraphBuilder,
  x: Value,
  {
    shape,
    bits,
    stored,
  }: { shape: MatrixShape; bits: 4 | 8; stored: readonly [Value, Value, zeroPoints?: Value] },
): Value {
  return g.apply('MatMulNBits', [x, ...stored], {
    K: shape.columns,
    N: shape.rows,
    bits,
    block_size: blockSize,
    // Level 4: activations are quantised to eight bits too, a block at a time.
    accuracy_level: 4,
  })
}

/** A block's range, which is the distance of two weights, is an f32. */
export const largestInBlock = largestFloat32 / 2

/** Eight bits with a scale and a zero point for each block of 32 along a row. */
const eightBits = (ranges: BlockRanges): MatrixFormat => ({
  largest: largestInBlock,
  tensors({ rows, columns }) {
    const blocks = blocksIn(columns)
    return {
      quants: { type: 'uint8', shape: [rows, blocks, blockSize] },
      scales: { type: 'float32', shape: [rows, blocks] },
      zeroPoints: { type: 'uint8', shape: [rows, blocks] },
    }
  },
  encode(rows, columns) {
    const { quants, scales, zeroPoints } = quantiseRows(rows, { columns, ...ranges })
    return { quants, scales: bytesOf(scales), zeroPoints }
  },
  decode: (shape, stored) =>
    dequantiseRows(shape, {
      quants: stored('quants'),
      scales: new Float32Array(stored('scales').buffer),
      zeroPoints: stored('zeroPoints'),
    }),
  matrix(shape, tensor) {
    const { columns } = shape
    const [quants, scales, zeroPoints] = [tensor('quants'), tensor('scales'), tensor('zeroPoints')]
    const wide = blocksIn(columns) * blockSize
    return {
      multiply: (g, x) => multiplyQuantised(g, x, { shape, bits: 8, stored: [quants, scales, zeroPoints] }),
      gather(g, ids) {
        const gathered = (tensor: Value) => g.apply('Gather', [tensor, ids], { axis: 0 })
        const number = (tensor: Value) => g.apply('Cast', [gathered(tensor)], { to: 'float32' })
        const perBlock = (x: Value) => g.apply('Unsqueeze', [x, g.constant('int64', [2])])
        const offsets = g.apply('Sub', [number(quants), perBlock(number(zeroPoints))])
        const weights = g.apply('Mul', [offsets, perBlock(gathered(scales))])
        const rows = g.apply('Reshape', [weights, g.constant('int64', [-1, wide])])
        if (wide === columns) return rows
        const at = (place: number) => g.constant('int64', [place])
        return g.apply('Slice', [rows, at(0), at(columns), at(1)])
      },
    }
  },
})

/** Its bytes stay as they are, since adapters name the digest of the backbone that they are made for. */
export const q8 = eightBits({ keepSteps: false })

/** The eight bits of matrices beside 4-bit ones. */
export const q8BesideQ4 = eightBits({ keepSteps: true })
