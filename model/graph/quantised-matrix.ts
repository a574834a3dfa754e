import { QuartetError } from '../../shared/errors.ts'
import type { GraphBuilder } from './builder.ts'
import { bytesOf } from './bytes.ts'
import { largestFloat32 } from './float-matrix.ts'
import type { MatrixFormat, MatrixShape } from './matrix-format.ts'
import { blockSize, blocksIn, dequantiseRows, pairs, quantiseRows, unpaired } from './quantise.ts'
import type { Value } from './values.ts'

/** x · Wᵀ with weights of `bits` bits. */
function multiply(
  g: GraphBuilder,
  x: Value,
  { shape, bits, stored }: { shape: MatrixShape; bits: 4 | 8; stored: readonly [Value, Value, Value] },
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
const largestInBlock = largestFloat32 / 2

/** Eight bits with a scale and a zero point for each block of 32 along a row. */
export const q8: MatrixFormat = {
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
    const { quants, scales, zeroPoints } = quantiseRows(rows, { columns, bits: 8 })
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
      multiply: (g, x) => multiply(g, x, { shape, bits: 8, stored: [quants, scales, zeroPoints] }),
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
}

/**
 * Four bits, two weights a byte (the first in the low half), with a scale and a zero point of four bits for each block
 * of 32. It is for products alone: a matrix that is read row by row keeps eight bits.
 */
export const q4: MatrixFormat = {
  largest: largestInBlock,
  tensors({ rows, columns }) {
    const blocks = blocksIn(columns)
    return {
      nibbles: { type: 'uint8', shape: [rows, blocks, blockSize / 2] },
      scales: { type: 'float32', shape: [rows, blocks] },
      nibbleZeroPoints: { type: 'uint8', shape: [rows, Math.ceil(blocks / 2)] },
    }
  },
  encode(rows, columns) {
    const { quants, scales, zeroPoints } = quantiseRows(rows, { columns, bits: 4 })
    return {
      nibbles: pairs(quants, blockSize),
      scales: bytesOf(scales),
      nibbleZeroPoints: pairs(zeroPoints, blocksIn(columns)),
    }
  },
  decode: (shape, stored) =>
    dequantiseRows(shape, {
      quants: unpaired(stored('nibbles'), blockSize),
      scales: new Float32Array(stored('scales').buffer),
      zeroPoints: unpaired(stored('nibbleZeroPoints'), blocksIn(shape.columns)),
    }),
  matrix(shape, tensor) {
    const stored = [tensor('nibbles'), tensor('scales'), tensor('nibbleZeroPoints')] as const
    return {
      multiply: (g, x) => multiply(g, x, { shape, bits: 4, stored }),
      gather() {
        throw new QuartetError('backbone_invalid', 'a matrix in 4 bits has no rows to gather: keep 8 bits')
      },
    }
  },
}
