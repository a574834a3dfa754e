import { type FileHandle, open } from 'node:fs/promises'
import type { StoredWeights } from '../../shared/backbone.ts'
import { QuartetError } from '../../shared/errors.ts'
import type { TensorName, TensorSource } from '../architectures/tensor-source.ts'
import type { GraphBuilder } from './builder.ts'
import { bytesOf } from './bytes.ts'
import { q4, q4Symmetric } from './four-bit-matrix.ts'
import {
  type Arithmetic,
  type Matrix,
  type MatrixFormat,
  type MatrixShape,
  matrixFormats,
} from './matrix-format.ts'
import { q8BesideQ4 } from './quantised-matrix.ts'
import { elementSizes, type Value, type ValueType } from './values.ts'

/** Tensors start at multiples of this, so that a memory-mapped file can be read in place with wide loads. */
const alignment = 64

/** A stretch of the file: where it starts, and its bytes once the source has been read. */
interface Piece {
  produce(source: TensorSource): Promise<readonly { offset: number; bytes: Uint8Array }[]>
}

/** Source tensors of one width, stacked into one matrix; for vectors, `rows` is their length. */
export type StackedTensors = readonly { readonly tensor: TensorName; readonly rows: number }[]

/**
 * Lays out `weights.bin`. Graphs ask it for weights by name and get initializers that point into the file; a name
 * asked for again, by another graph too, is the same place in it. `write` then fills the file, tensor by tensor.
 */
export class WeightFile {
  readonly #stored: StoredWeights
  readonly #isSymmetric: (name: TensorName) => boolean
  readonly #offsets = new Map<string, number>()
  readonly #pieces: Piece[] = []
  #length = 0

  constructor(stored: StoredWeights, source: Pick<TensorSource, 'isSymmetric'>) {
    this.#stored = stored
    this.#isSymmetric = (name) => source.isSymmetric?.(name) ?? false
  }

  /** A weight matrix made of one or more source tensors, one below the other. */
  matrix(
    g: GraphBuilder,
    name: string,
    {
      parts,
      columns,
      arithmetic = 'as stored',
    }: { parts: StackedTensors; columns: number; arithmetic?: Arithmetic },
  ): Matrix {
    const format = this.#formatOf(name, parts)
    const shape: MatrixShape = { rows: parts.reduce((sum, { rows }) => sum + rows, 0), columns }
    const tensors = format.tensors(shape)
    const isNew = !this.#offsets.has(`${name}.${Object.keys(tensors)[0]}`)
    const stored = (tensor: string) => {
      const type = tensors[tensor]
      if (type === undefined) throw new Error(`${name} is not stored with ${tensor}`)
      return this.#initializer(g, `${name}.${tensor}`, type)
    }
    const matrix = format.matrix(shape, stored, arithmetic)
    if (isNew) this.#planMatrix(name, { parts, columns })
    return matrix
  }

  /** The same weights for graphs that multiply in f32, however they are stored. */
  inF32(): WeightLayout {
    return {
      matrix: (g, name, of) => this.matrix(g, name, { ...of, arithmetic: 'f32' }),
      vector: (...of) => this.vector(...of),
      vectors: (...of) => this.vectors(...of),
      table: (...of) => this.table(...of),
    }
  }

  /** Four bits are for products: the embedding, which is read by rows, and what is to be kept have eight. */
  #formatOf(name: string, parts: StackedTensors): MatrixFormat {
    const { weights, eightBits = [] } = this.#stored
    const kind = name.split('.').at(-1)
    const keepsEight = kind === 'embedding' || eightBits.some((kept) => kept === kind)
    if (weights !== 'q4') return matrixFormats[weights]
    if (keepsEight) return q8BesideQ4
    return parts.every(({ tensor }) => this.#isSymmetric(tensor)) ? q4Symmetric : q4
  }

  /** One of the source's vectors, in 32-bit floats. */
  vector(g: GraphBuilder, name: TensorName, length: number): Value {
    return this.#floats(g, name, { shape: [length], read: (source) => source.read(name) })
  }

  /** One vector made of several of the source's, one behind the other, in 32-bit floats. */
  vectors(g: GraphBuilder, name: string, parts: StackedTensors): Value {
    const length = parts.reduce((sum, { rows }) => sum + rows, 0)
    return this.#floats(g, name, {
      shape: [length],
      async read(source) {
        const joined = new Float32Array(length)
        let at = 0
        for (const { tensor, rows } of parts) {
          joined.set(await source.read(tensor), at)
          at += rows
        }
        return joined
      },
    })
  }

  /** A table that is computed rather than read. */
  table(
    g: GraphBuilder,
    name: string,
    { shape, compute }: { shape: readonly number[]; compute: () => Float32Array },
  ): Value {
    return this.#floats(g, name, { shape, read: async () => compute() })
  }

  /** Reads the source's tensors one at a time and writes the file. */
  async write(path: string, source: TensorSource): Promise<void> {
    const file = await open(path, 'wx')
    try {
      await file.truncate(this.#length)
      for (const piece of this.#pieces)
        for (const { offset, bytes } of await piece.produce(source)) await writeAll(file, { offset, bytes })
      await file.sync()
    } finally {
      await file.close()
    }
  }

  #floats(
    g: GraphBuilder,
    name: string,
    { shape, read }: { shape: readonly number[]; read: (source: TensorSource) => Promise<Float32Array> },
  ): Value {
    const isNew = !this.#offsets.has(name)
    const value = this.#initializer(g, name, { type: 'float32', shape })
    const offset = this.#offset(name)
    if (isNew)
      this.#pieces.push({ produce: async (source) => [{ offset, bytes: bytesOf(await read(source)) }] })
    return value
  }

  #planMatrix(name: string, { parts, columns }: { parts: StackedTensors; columns: number }): void {
    const { encode, largest } = this.#formatOf(name, parts)
    let before = 0
    for (const { tensor, rows } of parts) {
      const firstRow = before
      const produce: Piece['produce'] = async (source) => {
        const weights = await source.read(tensor)
        const beyond = weights.find((weight) => Math.abs(weight) > largest)
        if (beyond !== undefined)
          throw new QuartetError(
            'backbone_invalid',
            `tensor ${tensor} holds ${beyond}, and weights in ${this.#stored.weights} end at ${largest.toPrecision(5)}: convert with --weights f32`,
          )
        return Object.entries(encode(weights, columns)).map(([key, bytes]) => ({
          offset: this.#offset(`${name}.${key}`) + (bytes.length / rows) * firstRow,
          bytes,
        }))
      }
      this.#pieces.push({ produce })
      before += rows
    }
  }

  #offset(name: string): number {
    const offset = this.#offsets.get(name)
    if (offset === undefined) throw new Error(`${name} has no place in the file of weights`)
    return offset
  }

  #initializer(g: GraphBuilder, name: string, { type, shape }: ValueType): Value {
    const length = shape.reduce<number>((product, dim) => product * Number(dim), elementSizes[type])
    if (!this.#offsets.has(name)) {
      this.#offsets.set(name, this.#length)
      this.#length += Math.ceil(length / alignment) * alignment
    }
    return g.initializer({ name, type, shape, content: { offset: this.#offset(name), length } })
  }
}

/** A model asks this for its weights. */
export type WeightLayout = Pick<WeightFile, 'matrix' | 'vector' | 'vectors' | 'table'>

/** One write call moves at most 2 GiB. */
async function writeAll(
  file: FileHandle,
  { offset, bytes }: { offset: number; bytes: Uint8Array },
): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const { bytesWritten } = await file.write(
      bytes,
      done,
      Math.min(bytes.length - done, 2 ** 30),
      offset + done,
    )
    done += bytesWritten
  }
}
