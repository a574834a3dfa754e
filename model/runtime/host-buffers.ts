import type { ModelConfig } from '../../shared/backbone.ts'
import { bytesOfCacheType, type CacheType } from './cache-type.ts'
import type { RowRange } from './host-places.ts'
import { discard, fillSparsely } from './memory-pages.ts'
import type { FeedsAndOutputs } from './ort/bound-tensors.ts'
import { float32, type Tensor, type Tensors } from './tensors.ts'
import { Turns } from './turns.ts'

/** How much is copied, or given back, between two turns of the event loop. */
const bytesInTurn = 2 * 1024 ** 2

/** Rows of one place in each layer. */
export interface LayerRanges {
  readonly place: number
  readonly layers: readonly { readonly from: number; readonly to: number }[]
}

/** Binds tensors to the session that runs on them (`InferenceSession.bind`). */
export type Bind = (tensors: FeedsAndOutputs<Tensors>) => FeedsAndOutputs<Tensors> & Disposable

/** Neighbouring places. */
interface Neighbours {
  readonly first: number
  readonly count: number
}

/** The first rows of one place, in all layers. */
interface FirstRows {
  readonly place: number
  readonly rows: number
}

/**
 * The memory of a cache on the host. For each layer, keys and values each are one buffer
 * [places, kvHeads, capacity, headDim] of the cache's type, which is handled as bytes. A buffer takes memory only for rows that
 * were written, as the operating system commits it then. Copying is done in pieces, between which the event loop has its turn.
 */
export class HostBuffers {
  readonly #config: ModelConfig
  readonly #places: number
  readonly #turns = new Turns(bytesInTurn)
  /** Keys and values in turn, layer by layer. */
  #buffers: readonly Uint8Array<ArrayBuffer>[] = []
  #capacity = 0
  readonly #bind: Bind
  /** The tensors of the latest runs by `keyOf` their places, the longest unused first, for the next ones there. */
  readonly #bound = new Map<string, ReturnType<Bind>>()
  readonly #type: CacheType
  /** Bytes of one head's row. */
  readonly #headRowBytes: number

  constructor(config: ModelConfig, { bind, places, type }: { bind: Bind; places: number; type: CacheType }) {
    this.#bind = bind
    this.#config = config
    this.#places = places
    this.#type = type
    this.#headRowBytes = config.headDim * bytesOfCacheType[type]
  }

  /** Rows that each place has room for. */
  get capacity(): number {
    return this.#capacity
  }

  /** Bytes of a row of one layer: a key and a value for each head. */
  get rowBytes(): number {
    return 2 * this.#config.kvHeads * this.#headRowBytes
  }

  /** Replaces the buffers by empty ones. */
  reset(capacity: number): void {
    const buffers = this.#newBuffers(capacity)
    this.release()
    this.#capacity = capacity
    this.#buffers = buffers
  }

  /**
   * Makes longer buffers, which take over the rows there are, one by one, to need little more memory meanwhile. All are made
   * before one is given up: where there is no room for them, nothing has changed.
   */
  async lengthen(capacity: number, lengths: readonly number[]): Promise<void> {
    const { kvHeads } = this.#config
    const buffers = this.#newBuffers(capacity)
    this.release()
    for (const [at, longer] of buffers.entries()) {
      const buffer = this.#buffers[at] ?? new Uint8Array()
      for (const [place, length] of lengths.entries())
        for (let head = 0; head < kvHeads; head++) {
          const size = length * this.#headRowBytes
          const from = this.#at({ place, head, row: 0 })
          await this.#turns.before(size)
          longer.set(buffer.subarray(from, from + size), (from / this.#capacity) * capacity)
        }
      // Frees the memory now rather than at the next garbage collection.
      buffer.buffer.transfer(0)
    }
    this.#buffers = buffers
    this.#capacity = capacity
  }

  /** Gives memory back to the operating system; the rows' content is undefined from then on. */
  async giveBack(ranges: readonly RowRange[]): Promise<void> {
    const { kvHeads } = this.#config
    for (const { from, place, to } of ranges)
      for (const buffer of this.#buffers)
        for (let head = 0; head < kvHeads; head++) {
          await this.#turns.before((to - from) * this.#headRowBytes)
          discard(buffer.subarray(this.#at({ place, head, row: from }), this.#at({ place, head, row: to })))
        }
  }

  /** Copies of rows: keys and values in turn, layer by layer, each [kvHeads, rows of the layer, headDim]. */
  async read({ layers, place }: LayerRanges): Promise<Uint8Array[]> {
    const { kvHeads } = this.#config
    const copies: Uint8Array[] = []
    for (const [at, buffer] of this.#buffers.entries()) {
      const { from, to } = layers[at >> 1] ?? { from: 0, to: 0 }
      const size = (to - from) * this.#headRowBytes
      // Every byte is written at once, so none is set to 0 first.
      const copy = new Uint8Array(Buffer.allocUnsafeSlow(kvHeads * size).buffer)
      await this.#turns.before(copy.byteLength)
      for (let head = 0; head < kvHeads; head++) {
        const start = this.#at({ place, head, row: from })
        copy.set(buffer.subarray(start, start + size), head * size)
      }
      copies.push(copy)
    }
    return copies
  }

  /** Writes what `read` has given to these rows. */
  async write(copies: readonly Uint8Array[], { layers, place }: LayerRanges): Promise<void> {
    const { kvHeads } = this.#config
    for (const [at, buffer] of this.#buffers.entries()) {
      const copy = copies[at] ?? new Uint8Array()
      const { from, to } = layers[at >> 1] ?? { from: 0, to: 0 }
      const size = (to - from) * this.#headRowBytes
      await this.#turns.before(copy.byteLength)
      for (let head = 0; head < kvHeads; head++)
        buffer.set(copy.subarray(head * size, (head + 1) * size), this.#at({ place, head, row: from }))
    }
  }

  /** Swaps the first rows of two places. */
  async swap(a: FirstRows, b: FirstRows): Promise<void> {
    const longest = Math.max(a.rows, b.rows)
    const { kvHeads } = this.#config
    const each = Math.max(1, Math.floor(bytesInTurn / (4 * this.#headRowBytes)))
    const copy = new Uint8Array(Math.min(each, longest) * this.#headRowBytes)
    for (const buffer of this.#buffers)
      for (let head = 0; head < kvHeads; head++)
        for (let row = 0; row < longest; row += each) {
          const sizeOf = (rows: number) => Math.max(0, Math.min(each, rows - row)) * this.#headRowBytes
          const [sizeA, sizeB] = [sizeOf(a.rows), sizeOf(b.rows)]
          const [atA, atB] = [
            this.#at({ place: a.place, head, row }),
            this.#at({ place: b.place, head, row }),
          ]
          await this.#turns.before(2 * sizeA + sizeB)
          copy.set(buffer.subarray(atA, atA + sizeA))
          buffer.copyWithin(atA, atB, atB + sizeB)
          buffer.set(copy.subarray(0, sizeA), atB)
        }
  }

  /**
   * The memory of neighbouring places as inputs and outputs of the graph, which appends to it in place: for the run that is next,
   * and until the memory is replaced. Prompts and decoded tokens take turns at their places, so those of some runs are kept.
   */
  tensors(places: Neighbours): FeedsAndOutputs<Tensors> {
    const key = keyOf(places)
    const known = this.#bound.get(key)
    this.#bound.delete(key)
    const [oldest] = this.#bound
    if (known === undefined && oldest !== undefined && this.#bound.size === 2 * this.#places) {
      oldest[1][Symbol.dispose]()
      this.#bound.delete(oldest[0])
    }
    const tensors = known ?? this.#bind(this.#tensorsOf(places))
    this.#bound.set(key, tensors)
    return tensors
  }

  /** Releases the tensors of all runs. */
  release(): void {
    for (const tensors of this.#bound.values()) tensors[Symbol.dispose]()
    this.#bound.clear()
  }

  #tensorsOf({ count, first }: Neighbours): FeedsAndOutputs<Tensors> {
    const { headDim, kvHeads } = this.#config
    const dims = [count, kvHeads, this.#capacity, headDim]
    const [from, to] = [first, first + count].map((place) => this.#at({ place, head: 0, row: 0 }))
    const tensors = this.#buffers.map((buffer) => this.#tensor(buffer.subarray(from, to), dims))
    const named = (prefix: string): Tensors =>
      Object.fromEntries(
        tensors.map((tensor, at) => [`${prefix}_${at % 2 === 0 ? 'key' : 'value'}.${at >> 1}`, tensor]),
      )
    return { feeds: named('past'), outputs: named('present') }
  }

  #tensor({ buffer, byteLength, byteOffset }: Uint8Array<ArrayBuffer>, dims: readonly number[]): Tensor {
    return this.#type === 'int8'
      ? { type: 'int8', data: new Int8Array(buffer, byteOffset, byteLength), dims }
      : float32(new Float32Array(buffer, byteOffset, byteLength / bytesOfCacheType.f32), dims)
  }

  #newBuffers(capacity: number): readonly Uint8Array<ArrayBuffer>[] {
    return Array.from({ length: 2 * this.#config.layers }, () => this.#newBuffer(capacity))
  }

  #newBuffer(capacity: number): Uint8Array<ArrayBuffer> {
    const { kvHeads } = this.#config
    const buffer = new Uint8Array(this.#places * kvHeads * capacity * this.#headRowBytes)
    fillSparsely(buffer)
    return buffer
  }

  /** Where a row of a place's head begins in a buffer, in bytes. */
  #at({ head, place, row }: { place: number; head: number; row: number }): number {
    return ((place * this.#config.kvHeads + head) * this.#capacity + row) * this.#headRowBytes
  }
}

const keyOf = ({ count, first }: Neighbours): string => `${first} ${count}`
