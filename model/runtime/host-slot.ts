import { QuartetError } from '../../shared/errors.ts'
import type { CacheSlot, KeptRows } from './backend.ts'

/** A sequence's place in a cache in host memory. */
export class HostSlot implements CacheSlot {
  readonly reserved: number
  /** Place along the buffers' first axis. */
  index: number
  /** Rows filled in each layer; fewer in those below the one whose prompt rows are carried on. */
  readonly lengths: Int32Array
  /** Rows filled in the longest layer. */
  #length = 0
  readonly #free: (slot: HostSlot) => void
  #released = false

  constructor({
    reserved,
    index,
    layers,
    free,
  }: { reserved: number; index: number; layers: number; free: (slot: HostSlot) => void }) {
    this.reserved = reserved
    this.index = index
    this.lengths = new Int32Array(layers)
    this.#free = free
  }

  get length(): number {
    return this.#length
  }

  /** `gained[layer]` more rows are filled in each layer; less than none when the sequence is rewound. */
  grow(gained: readonly number[]): void {
    for (const [layer, rows] of gained.entries()) this.lengths[layer] = (this.lengths[layer] ?? 0) + rows
    this.#length = Math.max(...this.lengths)
  }

  rewind(tokens: number): void {
    const shortest = Math.min(...this.lengths)
    if (tokens > shortest)
      throw new QuartetError('internal_error', `a slot of ${shortest} rows cannot forget ${tokens}`)
    this.grow(Array<number>(this.lengths.length).fill(-tokens))
  }

  release(): void {
    if (this.#released) return
    this.#released = true
    this.#free(this)
  }
}

/** Rows of every layer: the bytes of keys and values in turn, layer by layer, each [kvHeads, rows of the layer, headDim]. */
export class HostRows implements KeptRows {
  readonly rows: readonly number[]
  readonly data: readonly Uint8Array[]

  constructor({ data, rows }: Pick<HostRows, 'data' | 'rows'>) {
    this.data = data
    this.rows = rows
  }

  get bytes(): number {
    return this.data.reduce((sum, { byteLength }) => sum + byteLength, 0)
  }
}
