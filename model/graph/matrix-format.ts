import { QuartetError } from '../../shared/errors.ts'
import type { GraphBuilder } from './builder.ts'
import { blockSize, quantiseRows } from './quantise.ts'
import type { Value, ValueType } from './values.ts'

/** How the weights of a backbone are stored: 32-bit floats, or eight bits with a scale per block of 32. */
export type WeightFormat = 'q8' | 'f32'

/** Shape of a weight matrix W [rows, columns] = [out, in]. */
export interface MatrixShape {
  readonly rows: number
  readonly columns: number
}

/** A weight matrix as a part of a graph. */
export interface Matrix {
  /** x [n, columns] · Wᵀ: [n, rows]. */
  multiply(g: GraphBuilder, x: Value): Value
  /** Rows of W for ids [n]: [n, columns]. */
  gather(g: GraphBuilder, ids: Value): Value
}

/** A way to store and use weight matrices. */
export interface MatrixFormat {
  /** The tensors that a matrix is stored as, by name; the first axis of each is the matrix's rows. */
  tensors(shape: MatrixShape): Readonly<Record<string, ValueType>>
  /** Some rows of a matrix as bytes of each of these tensors. */
  encode(rows: Float32Array): Readonly<Record<string, Uint8Array>>
  /** The matrix, given its stored tensors by name. */
  matrix(shape: MatrixShape, stored: (name: string) => Value): Matrix
}

export function bytesOf({ buffer, byteOffset, byteLength }: ArrayBufferView<ArrayBufferLike>): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength)
}

const f32: MatrixFormat = {
  tensors: ({ rows, columns }) => ({ weights: { type: 'float32', shape: [rows, columns] } }),
  encode: (rows) => ({ weights: bytesOf(rows) }),
  matrix(_shape, stored) {
    const weights = stored('weights')
    return {
      multiply: (g, x) => g.apply('Gemm', [x, weights], { transB: 1 }),
      gather: (g, ids) => g.apply('Gather', [weights, ids], { axis: 0 }),
    }
  },
}

const q8: MatrixFormat = {
  tensors({ rows, columns }) {
    if (columns % blockSize !== 0)
      throw new QuartetError(
        'backbone_invalid',
        `a weight matrix has ${columns} columns; 8-bit weights need a multiple of ${blockSize}: convert with f32 weights`,
      )
    const blocks = columns / blockSize
    return {
      quants: { type: 'uint8', shape: [rows, blocks, blockSize] },
      scales: { type: 'float32', shape: [rows, blocks] },
      zeroPoints: { type: 'uint8', shape: [rows, blocks] },
    }
  },
  encode(rows) {
    const { quants, scales, zeroPoints } = quantiseRows(rows)
    return { quants, scales: bytesOf(scales), zeroPoints }
  },
  matrix({ rows, columns }, stored) {
    const quants = stored('quants')
    const scales = stored('scales')
    const zeroPoints = stored('zeroPoints')
    return {
      multiply: (g, x) =>
        g.apply('MatMulNBits', [x, quants, scales, zeroPoints], {
          K: columns,
          N: rows,
          bits: 8,
          block_size: blockSize,
          // Level 4: activations are quantised to eight bits too, a block at a time.
          accuracy_level: 4,
        }),
      gather(g, ids) {
        const gathered = (tensor: Value) => g.apply('Gather', [tensor, ids], { axis: 0 })
        const number = (tensor: Value) => g.apply('Cast', [gathered(tensor)], { to: 'float32' })
        const perBlock = (x: Value) => g.apply('Unsqueeze', [x, g.constant('int64', [2])])
        const offsets = g.apply('Sub', [number(quants), perBlock(number(zeroPoints))])
        const weights = g.apply('Mul', [offsets, perBlock(gathered(scales))])
        return g.apply('Reshape', [weights, g.constant('int64', [-1, columns])])
      },
    }
  },
}

export const matrixFormats: Readonly<Record<WeightFormat, MatrixFormat>> = { f32, q8 }
