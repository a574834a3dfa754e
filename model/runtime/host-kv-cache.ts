import type { ModelConfig } from '../../shared/backbone.ts'
import { QuartetError } from '../../shared/errors.ts'
import type { CacheSlot, KeptRows, TokenRange } from './backend.ts'
import type { KvBinding, KvCache } from './kv-cache.ts'
import { float32 } from './tensors.ts'

export interface KvCacheLimits {
  /** Slots. */
  readonly maxBatch: number
  /** Rows of all slots together. */
  readonly cacheRows: number
}

/** Rows that every slot has room for: at first, then by half more each time. */
const smallestCapacity = 128

class HostSlot implements CacheSlot {
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

/** Rows of every layer: keys and values in turn, layer by layer, each [kvHeads, rows of the layer, headDim]. */
class HostRows implements KeptRows {
  readonly rows: readonly number[]
  readonly data: readonly Float32Array[]

  constructor({ data, rows }: Pick<HostRows, 'data' | 'rows'>) {
    this.data = data
    this.rows = rows
  }

  get bytes(): number {
    return this.data.reduce((sum, { byteLength }) => sum + byteLength, 0)
  }
}

/**
 * A cache in host memory. For each layer, keys and values each are one buffer [slots, kvHeads, capacity, headDim],
 * which the graph reads as its past and appends to in place, so that a run copies nothing. The sequences of a batch
 * must be neighbours: those that are not are moved.
 *
 * The operating system commits memory when it is first written, so a buffer costs what its slots have filled, not
 * slots × capacity. Rows that ended sequences left behind count until the buffers are made anew, which happens when
 * they and the reserved ones together would pass `cacheRows`, and when the last sequence has ended.
 */
export class HostKvCache implements KvCache {
  readonly #config: ModelConfig
  readonly #limits: KvCacheLimits
  /** The slot at each place. */
  readonly #slots: (HostSlot | undefined)[]
  /** Most rows ever filled at each place of the present buffers. */
  #touched: number[]
  #capacity = 0
  /** Keys and values in turn, layer by layer. */
  #buffers: Float32Array<ArrayBuffer>[] = []
  #running = false
  #releasedWhileRunning: HostSlot[] = []

  constructor(config: ModelConfig, limits: KvCacheLimits) {
    this.#config = config
    this.#limits = limits
    this.#slots = Array<undefined>(limits.maxBatch).fill(undefined)
    this.#touched = this.#slots.map(() => 0)
  }

  /** Rows that the buffers have room for in each slot. */
  get capacity(): number {
    return this.#capacity
  }

  allocate(rows: number): CacheSlot | undefined {
    const index = this.#slots.indexOf(undefined)
    const reserved = this.#live().reduce((sum, slot) => sum + slot.reserved, rows)
    if (index === -1 || reserved > this.#limits.cacheRows) return undefined
    const committed = this.#slots.reduce(
      (sum, slot, at) => sum + Math.max(at === index ? rows : (slot?.reserved ?? 0), this.#touched[at] ?? 0),
      0,
    )
    if (rows > this.#capacity || committed > this.#limits.cacheRows) {
      if (this.#running) return undefined
      this.#rebuild(capacityFor(Math.max(rows, ...this.#live().map((slot) => slot.reserved))))
    }
    const slot = new HostSlot({
      reserved: rows,
      index,
      layers: this.#config.layers,
      free: (released) => this.#free(released),
    })
    this.#slots[index] = slot
    return slot
  }

  keep(slot: CacheSlot, { end, start, tail, tokens }: TokenRange): KeptRows {
    const { index, lengths } = this.#own(slot)
    const { headDim, kvHeads } = this.#config
    if (tail !== undefined && end > tokens - tail)
      throw new QuartetError('internal_error', `a range ends at ${end}, behind late rows`)
    // In each layer the tokens lie behind its prompt rows, but for a first token that lies in front of them, or lie in
    // front of late rows.
    const ranges = Array.from(lengths, (length) => {
      const promptRows = tail === undefined ? length - tokens : 0
      return { from: start === 0 ? 0 : start + promptRows, to: end + promptRows }
    })
    const data = this.#buffers.map((buffer, at) => {
      const { from, to } = ranges[at >> 1] ?? { from: 0, to: 0 }
      const size = (to - from) * headDim
      const copy = new Float32Array(kvHeads * size)
      for (let head = 0; head < kvHeads; head++) {
        const place = ((index * kvHeads + head) * this.#capacity + from) * headDim
        copy.set(buffer.subarray(place, place + size), head * size)
      }
      return copy
    })
    return new HostRows({ data, rows: ranges.map(({ from, to }) => to - from) })
  }

  put(slot: CacheSlot, kept: readonly KeptRows[]): void {
    if (this.#running) throw new QuartetError('internal_error', 'the cache is in use by a run')
    const own = this.#own(slot)
    const { headDim, kvHeads } = this.#config
    for (const block of kept) {
      if (!(block instanceof HostRows)) throw new QuartetError('internal_error', 'rows of another cache')
      const { data, rows } = block
      if (own.length + Math.max(...rows) > own.reserved)
        throw new QuartetError('internal_error', `kept rows exceed a slot of ${own.reserved} rows`)
      for (const [at, buffer] of this.#buffers.entries()) {
        const copy = data[at] ?? new Float32Array(0)
        const size = (rows[at >> 1] ?? 0) * headDim
        for (let head = 0; head < kvHeads; head++) {
          const place =
            ((own.index * kvHeads + head) * this.#capacity + (own.lengths[at >> 1] ?? 0)) * headDim
          buffer.set(copy.subarray(head * size, (head + 1) * size), place)
        }
      }
      own.grow(rows)
    }
    this.#touched[own.index] = Math.max(this.#touched[own.index] ?? 0, own.length)
  }

  async append(
    { slots, gained }: { slots: readonly CacheSlot[]; gained: readonly number[] },
    run: (binding: KvBinding) => Promise<void>,
  ): Promise<void> {
    if (this.#running) throw new QuartetError('internal_error', 'the cache is in use by another run')
    const own = slots.map((slot) => this.#own(slot))
    for (const { lengths, reserved } of own)
      for (const [layer, rows] of gained.entries()) {
        const length = lengths[layer] ?? 0
        if (length + rows > reserved)
          throw new QuartetError(
            'internal_error',
            `a slot of ${reserved} rows has ${length} in layer ${layer}; ${rows} more do not fit`,
          )
      }
    const binding = this.#bind(own)
    this.#running = true
    try {
      await run(binding)
      for (const slot of own) {
        slot.grow(gained)
        this.#touched[slot.index] = Math.max(this.#touched[slot.index] ?? 0, slot.length)
      }
    } finally {
      this.#running = false
      for (const slot of this.#releasedWhileRunning.splice(0)) this.#free(slot)
    }
  }

  #live(): HostSlot[] {
    return this.#slots.filter((slot) => slot !== undefined)
  }

  #own(slot: CacheSlot): HostSlot {
    if (slot instanceof HostSlot && this.#slots[slot.index] === slot) return slot
    throw new QuartetError('internal_error', 'this slot was released, or is of another cache')
  }

  #free(slot: HostSlot): void {
    if (this.#running) {
      this.#releasedWhileRunning.push(slot)
      return
    }
    this.#slots[slot.index] = undefined
    if (this.#live().length === 0 && this.#capacity > smallestCapacity) this.#rebuild(0)
  }

  #bind(slots: readonly HostSlot[]): KvBinding {
    const [only] = slots
    if (slots.length > 1) this.#gather(slots)
    const first = slots.length === 1 && only !== undefined ? only.index : 0
    const { kvHeads, headDim } = this.#config
    const stride = kvHeads * this.#capacity * headDim
    const dims = [slots.length, kvHeads, this.#capacity, headDim]
    const tensors = this.#buffers.map((buffer) =>
      float32(buffer.subarray(first * stride, (first + slots.length) * stride), dims),
    )
    const named = (prefix: string) =>
      Object.fromEntries(
        tensors.map((tensor, at) => [`${prefix}_${at % 2 === 0 ? 'key' : 'value'}.${at >> 1}`, tensor]),
      )
    const ordered = slots.toSorted((a, b) => a.index - b.index)
    return {
      slots: ordered,
      lengths: Array.from({ length: this.#config.layers }, (_, layer) =>
        ordered.map(({ lengths }) => lengths[layer] ?? 0),
      ),
      feeds: named('past'),
      outputs: named('present'),
    }
  }

  /** Moves slots so that these lie at places 0..n−1. */
  #gather(slots: readonly HostSlot[]): void {
    const wanted = new Set<HostSlot | undefined>(slots)
    const outside = slots.filter((slot) => slot.index >= slots.length)
    for (let place = 0; place < slots.length; place++) {
      if (wanted.has(this.#slots[place])) continue
      const slot = outside.pop()
      if (slot !== undefined) this.#swap(place, slot.index)
    }
  }

  #swap(a: number, b: number): void {
    const { kvHeads, headDim } = this.#config
    const [slotA, slotB] = [this.#slots[a], this.#slots[b]]
    const [lengthA, lengthB] = [(slotA?.length ?? 0) * headDim, (slotB?.length ?? 0) * headDim]
    const kept = new Float32Array(lengthA)
    for (const buffer of this.#buffers)
      for (let head = 0; head < kvHeads; head++) {
        const startA = (a * kvHeads + head) * this.#capacity * headDim
        const startB = (b * kvHeads + head) * this.#capacity * headDim
        kept.set(buffer.subarray(startA, startA + lengthA))
        buffer.copyWithin(startA, startB, startB + lengthB)
        buffer.set(kept, startB)
      }
    this.#put(a, slotB)
    this.#put(b, slotA)
  }

  #put(index: number, slot: HostSlot | undefined): void {
    this.#slots[index] = slot
    if (slot === undefined) return
    slot.index = index
    this.#touched[index] = Math.max(this.#touched[index] ?? 0, slot.length)
  }

  /** Makes the buffers anew, taking over the live rows; one by one, to need little more memory meanwhile. */
  #rebuild(capacity: number): void {
    const { layers, kvHeads, headDim } = this.#config
    const old = this.#buffers
    const oldHead = this.#capacity * headDim
    const head = capacity * headDim
    this.#buffers = Array.from({ length: 2 * layers }, (_, at) => {
      const next = new Float32Array(this.#slots.length * kvHeads * head)
      const previous = old[at]
      if (previous === undefined) return next
      for (const { index, length } of this.#live())
        for (let h = index * kvHeads; h < (index + 1) * kvHeads; h++)
          next.set(previous.subarray(h * oldHead, h * oldHead + length * headDim), h * head)
      // Frees the memory now rather than at the next garbage collection.
      previous.buffer.transfer(0)
      return next
    })
    this.#capacity = capacity
    this.#touched = this.#slots.map((slot) => slot?.length ?? 0)
  }
}

function capacityFor(rows: number): number {
  let capacity = smallestCapacity
  while (capacity < rows) capacity = Math.ceil((capacity * 1.5) / 64) * 64
  return capacity
}
