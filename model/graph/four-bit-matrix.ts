import { QuartetError } from '../../shared/errors.ts'
import { affineRows, fromAffineRows } from './affine-blocks.ts'
import type { GraphBuilder } from './builder.ts'
import { bytesOf } from './bytes.ts'
import type { MatrixFormat, MatrixShape } from './matrix-format.ts'
import { blockSize, blocksIn } from './quantise.ts'
import { largestInBlock, multiplyQuantised } from './quantised-matrix.ts'
import { symmetricRows } from './symmetric-blocks.ts'
import type { Value, ValueType } from './values.ts'

/** Two quants a byte, and a scale, of each block. */
function perBlock({ rows, columns }: MatrixShape) {
  const blocks = blocksIn(columns)
  return {
    nibbles: { type: 'uint8', shape: [rows, blocks, blockSize / 2] },
    scales: { type: 'float32', shape: [rows, blocks] },
  } satisfies Record<string, ValueType>
}

/** x [n, columns] → the sum of each block of 32 along a row: [n, blocks]. */
function blockSums(g: GraphBuilder, x: Value, columns: number): Value {
  const blocks = blocksIn(columns)
  const missing = blocks * blockSize - columns
  const whole =
    missing === 0
      ? x
      : g.apply('Pad', [x, g.constant('int64', [0, missing]), undefined, g.constant('int64', [1])])
  const parted = g.apply('Reshape', [whole, g.constant('int64', [-1, blocks, blockSize])])
  return g.apply('ReduceSum', [parted, g.constant('int64', [2])], { keepdims: 0 })
}

/**
 * Four bits, two weights a byte (the first in the low half), with a scale and an offset in f32 for each block of 32. It is for
 * products alone: a matrix that is read row by row keeps eight bits.
 *
 * The operator knows whole zero points only, so the offsets are a product of their own, with the sums of x over each block:
 * Σ x · ((quant − 8) · scale + offset) = Σ x · (quant − 8) · scale + offset · Σ x.
 */
export const q4: MatrixFormat = {
  largest: largestInBlock,
  tensors(shape) {
    const { nibbles, scales } = perBlock(shape)
    return { nibbles, scales, offsets: scales }
  },
  encode(rows, columns) {
    const { quants, scales, offsets } = affineRows(rows, columns)
    return { nibbles: pairs(quants), scales: bytesOf(scales), offsets: bytesOf(offsets) }
  },
  decode: (shape, stored) =>
    fromAffineRows(shape, {
      quants: unpaired(stored('nibbles')),
      scales: new Float32Array(stored('scales').buffer),
      offsets: new Float32Array(stored('offsets').buffer),
    }),
  matrix(shape, tensor) {
    const [nibbles, scales, offsets] = [tensor('nibbles'), tensor('scales'), tensor('offsets')]
    return {
      multiply(g, x) {
        const product = multiplyQuantised(g, x, { shape, bits: 4, stored: [nibbles, scales] })
        return g.apply('GemmAdd', [blockSums(g, x, shape.columns), offsets, product], { transB: 1 })
      },
      gather,
    }
  },
}

/**
 * Four bits around zero, for matrices that a file has so (`TensorSource.isSymmetric`): no block has an offset, and a product is one
 * operator.
 */
export const q4Symmetric: MatrixFormat = {
  largest: largestInBlock,
  tensors: perBlock,
  encode(rows, columns) {
    const { quants, scales } = symmetricRows(rows, columns)
    return { nibbles: pairs(quants), scales: bytesOf(scales) }
  },
  decode(shape, stored) {
    const scales = new Float32Array(stored('scales').buffer)
    return fromAffineRows(shape, {
      quants: unpaired(stored('nibbles')),
      scales,
      offsets: new Float32Array(scales.length),
    })
  },
  matrix(shape, tensor) {
    const [nibbles, scales] = [tensor('nibbles'), tensor('scales')]
    return {
      multiply: (g, x) => multiplyQuantised(g, x, { shape, bits: 4, stored: [nibbles, scales] }),
      gather,
    }
  },
}

function gather(): never {
  throw new QuartetError('backbone_invalid', 'a matrix in 4 bits has no rows to gather: keep 8 bits')
}

/** Numbers of four bits, two a byte, the first in the low half. */
export function pairs(values: Uint8Array): Uint8Array {
  const packed = new Uint8Array(values.length / 2)
  for (let at = 0; at < packed.length; at++)
    packed[at] = (values[2 * at] ?? 0) | ((values[2 * at + 1] ?? 0) << 4)
  return packed
}

/** The values that `pairs` has packed. */
export function unpaired(packed: Uint8Array): Uint8Array {
  const values = new Uint8Array(packed.length * 2)
  for (const [at, byte] of packed.entries()) {
    values[2 * at] = byte & 15
    values[2 * at + 1] = byte >> 4
  }
  return values
}
