import type { WeightFormat } from '../../shared/backbone.ts'
import type { GraphBuilder } from './builder.ts'
import { bfloat16, f32, float16 } from './float-matrix.ts'
import { q4 } from './four-bit-matrix.ts'
import { q8 } from './quantised-matrix.ts'
import type { Value, ValueType } from './values.ts'

/** Shape of a weight matrix W [rows, columns] = [out, in]. */
export interface MatrixShape {
  readonly rows: number
  readonly columns: number
}

/** A weight matrix as a part of a graph. */
export interface Matrix {
  /** x [n, columns] · Wᵀ: [n, rows], in f32. */
  multiply(g: GraphBuilder, x: Value): Value
  /** Rows of W for ids [n]: [n, columns], in f32. */
  gather(g: GraphBuilder, ids: Value): Value
}

/** The numbers by which a graph multiplies 16-bit weights: 16-bit ones, as GPUs do, or f32, as every CPU can. */
export type Arithmetic = 'as stored' | 'f32'

/** A way to store and use weight matrices. */
export interface MatrixFormat {
  /** The largest magnitude that a weight may have. */
  readonly largest: number
  /** The tensors that a matrix is stored as, by name; the first axis of each is the matrix's rows. */
  tensors(shape: MatrixShape): Readonly<Record<string, ValueType>>
  /** Some whole rows of a matrix as bytes of each of these tensors. */
  encode(rows: Float32Array, columns: number): Readonly<Record<string, Uint8Array>>
  /** The matrix, given its stored tensors by name. */
  matrix(shape: MatrixShape, stored: (name: string) => Value, arithmetic: Arithmetic): Matrix
  /** The stored values in f32, [rows, columns]: what `encode` wrote, as it is served. */
  decode(shape: MatrixShape, stored: (name: string) => Uint8Array<ArrayBuffer>): Float32Array
}

export const matrixFormats: Readonly<Record<WeightFormat, MatrixFormat>> = {
  f32,
  f16: float16,
  bf16: bfloat16,
  q8,
  q4,
}
