import type { ModelConfig } from '../../shared/backbone.ts'
import { QuartetError } from '../../shared/errors.ts'
import type { CacheSlot, KeptRows, TokenRange } from './backend.ts'
import { HostRows, HostSlot } from './host-slot.ts'
import type { KvBinding, KvCache } from './kv-cache.ts'
import { discard, fillSparsely } from './memory-pages.ts'
import { float32, type Tensors } from './tensors.ts'
import { Turns } from './turns.ts'

export interface KvCacheLimits {
  /** Slots. */
  readonly maxBatch: number
  /** Rows of all slots together. */
  readonly cacheRows: number
  /** Rows of the longest slot. */
  readonly contextLength: number
  /**
   * Rows that every slot has room for at first. Where a run reads the buffers in place, as on the CPU, room costs nothing,
   * so that the longest is best. Where a run copies them whole to a device, they should be short, and grow.
   */
  readonly firstCapacity: number
}

/** How much is copied, or given back, between two turns of the event loop. */
const bytesInTurn = 2 * 1024 ** 2

/** Bytes of the longest array in every JavaScript engine that runs this. */
const mostBytes = 2 ** 32 - 1

/** Rows from one to another in one slot. */
interface Stretch {
  readonly index: number
  readonly from: number
  readonly to: number
}

/**
 * A cache in host memory. For each layer, keys and values each are one buffer [slots, kvHeads, capacity, headDim],
 * which the graph reads as its past and appends to in place, so that a run copies nothing. The sequences of a batch
 * must be neighbours: those that are not are moved.
 *
 * The buffers are made once, unless `firstCapacity` is less than a sequence needs. They take memory only for rows that
 * were written, as the operating system commits it then. The memory that ended sequences left behind counts in
 * `cacheRows`, and is given back when it and the reserved rows together would pass that.
 *
 * Copying is done in pieces, between which the event loop has its turn.
 */
export class HostKvCache implements KvCache {
  readonly #config: ModelConfig
  readonly #limits: KvCacheLimits
  /** Keys and values in turn, layer by layer. */
  #buffers: readonly Float32Array<ArrayBuffer>[] = []
  #capacity = 0
  /** The rows of the longest slot, which the buffers get room for before anything else is written. */
  #longest = 0
  /** The slot at each place. */
  readonly #slots: (HostSlot | undefined)[]
  /** Most rows written at each place since its memory was last given back. */
  readonly #touched: number[]
  /** Memory to give back before anything else is written. */
  readonly #leftovers: Stretch[] = []
  readonly #turns = new Turns(bytesInTurn)
  #busy = false
  readonly #releasedWhileBusy: HostSlot[] = []

  /** Throws `invalid_request` when an array cannot be that long. */
  constructor(config: ModelConfig, limits: KvCacheLimits) {
    const { headDim, kvHeads } = config
    const { maxBatch } = limits
    this.#config = config
    this.#limits = limits
    this.#slots = Array<undefined>(maxBatch).fill(undefined)
    this.#touched = this.#slots.map(() => 0)
    if (maxBatch * kvHeads * this.#mostCapacity * headDim * Float32Array.BYTES_PER_ELEMENT > mostBytes)
      throw new QuartetError(
        'invalid_request',
        `${maxBatch} sequences of up to ${this.#mostCapacity} tokens are more than the KV cache of a layer can hold: lower --max-batch or --cache-rows`,
        { param: '--max-batch' },
      )
    this.#startOver()
  }

  /** Rows that the buffers have room for in each slot. */
  get capacity(): number {
    return this.#capacity
  }

  get #mostCapacity(): number {
    return Math.min(this.#limits.contextLength, this.#limits.cacheRows)
  }

  allocate(rows: number): CacheSlot | undefined {
    const index = this.#placeFor(rows)
    const reserved = this.#slots.reduce((sum, slot) => sum + (slot?.reserved ?? 0), rows)
    if (index === undefined || reserved > this.#limits.cacheRows || rows > this.#mostCapacity)
      return undefined
    const committed = this.#slots.reduce(
      (sum, slot, at) => sum + Math.max(at === index ? rows : (slot?.reserved ?? 0), this.#touched[at] ?? 0),
      0,
    )
    const isTight = committed > this.#limits.cacheRows
    // Slots may be moving.
    if (isTight && this.#busy) return undefined
    const slot = new HostSlot({
      reserved: rows,
      index,
      layers: this.#config.layers,
      free: (released) => this.#free(released),
    })
    this.#slots[index] = slot
    this.#longest = Math.max(this.#longest, rows)
    if (isTight) this.#giveUpLeftovers()
    return slot
  }

  keep(slot: CacheSlot, { end, start, tail, tokens }: TokenRange): Promise<KeptRows> {
    return this.#whileBusy(async () => {
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
      const data: Float32Array[] = []
      for (const [at, buffer] of this.#buffers.entries()) {
        const { from, to } = ranges[at >> 1] ?? { from: 0, to: 0 }
        const size = (to - from) * headDim
        const copy = new Float32Array(kvHeads * size)
        await this.#turns.before(copy.byteLength)
        for (let head = 0; head < kvHeads; head++) {
          const place = this.#at({ index, head, row: from })
          copy.set(buffer.subarray(place, place + size), head * size)
        }
        data.push(copy)
      }
      return new HostRows({ data, rows: ranges.map(({ from, to }) => to - from) })
    })
  }

  put(slot: CacheSlot, kept: readonly KeptRows[]): Promise<void> {
    return this.#whileBusy(async () => {
      await this.#makeRoom()
      const own = this.#own(slot)
      for (const block of kept) {
        if (!(block instanceof HostRows)) throw new QuartetError('internal_error', 'rows of another cache')
        if (own.length + Math.max(...block.rows) > own.reserved)
          throw new QuartetError('internal_error', `kept rows exceed a slot of ${own.reserved} rows`)
        await this.#putBlock(own, block)
      }
    })
  }

  append(
    { slots, gained }: { slots: readonly CacheSlot[]; gained: readonly number[] },
    run: (binding: KvBinding) => Promise<void>,
  ): Promise<void> {
    return this.#whileBusy(async () => {
      const own = slots.map((slot) => this.#own(slot))
      for (const slot of own) checkRoom(slot, gained)
      await this.#makeRoom()
      const first = await this.#gather(own)
      await run(this.#bind(own, first))
      for (const slot of own) {
        slot.grow(gained)
        this.#touch(slot)
      }
    })
  }

  /** One at a time; slots that are released meanwhile are freed afterwards. */
  async #whileBusy<T>(work: () => Promise<T>): Promise<T> {
    if (this.#busy) throw new QuartetError('internal_error', 'the cache is in use')
    this.#busy = true
    try {
      return await work()
    } finally {
      this.#busy = false
      for (const slot of this.#releasedWhileBusy.splice(0)) this.#free(slot)
    }
  }

  #own(slot: CacheSlot): HostSlot {
    if (slot instanceof HostSlot && this.#slots[slot.index] === slot) return slot
    throw new QuartetError('internal_error', 'this slot was released, or is of another cache')
  }

  #free(slot: HostSlot): void {
    if (this.#busy) {
      this.#releasedWhileBusy.push(slot)
      return
    }
    this.#slots[slot.index] = undefined
    const isEmpty = this.#slots.every((other) => other === undefined)
    if (isEmpty && this.#capacity > this.#limits.firstCapacity) this.#startOver()
  }

  #startOver(): void {
    this.#capacity = Math.min(this.#limits.firstCapacity, this.#mostCapacity)
    this.#longest = 0
    this.#leftovers.length = 0
    this.#touched.fill(0)
    this.#buffers = Array.from({ length: 2 * this.#config.layers }, () => this.#newBuffer(this.#capacity))
  }

  /** The free place that wastes least of what was written: the smallest that has the rows, else the largest. */
  #placeFor(rows: number): number | undefined {
    const free = [...this.#slots.keys()].filter((at) => this.#slots[at] === undefined)
    const touched = (at: number) => this.#touched[at] ?? 0
    const bySize = free.toSorted((a, b) => touched(a) - touched(b))
    return bySize.find((at) => touched(at) >= rows) ?? bySize.at(-1)
  }

  #touch({ index, length }: HostSlot): void {
    this.#touched[index] = Math.max(this.#touched[index] ?? 0, length)
  }

  /** Where a row of a slot's head begins in a buffer. */
  #at({ index, head, row }: { index: number; head: number; row: number }): number {
    const { headDim, kvHeads } = this.#config
    return ((index * kvHeads + head) * this.#capacity + row) * headDim
  }

  /** Memory that no slot has reserved is to be given back. */
  #giveUpLeftovers(): void {
    for (const [index, slot] of this.#slots.entries()) {
      const from = slot?.reserved ?? 0
      const to = this.#touched[index] ?? 0
      if (to <= from) continue
      this.#leftovers.push({ index, from, to })
      this.#touched[index] = from
    }
  }

  async #makeRoom(): Promise<void> {
    await this.#giveBack()
    if (this.#longest > this.#capacity) await this.#lengthen(this.#longest)
  }

  /** Makes longer buffers, which take over the rows there are, one by one, to need little more memory meanwhile. */
  async #lengthen(rows: number): Promise<void> {
    const { headDim, kvHeads } = this.#config
    const capacity = Math.min(this.#mostCapacity, Math.max(rows, Math.ceil(this.#capacity * 1.5)))
    const buffers: Float32Array<ArrayBuffer>[] = []
    for (const buffer of this.#buffers) {
      const longer = this.#newBuffer(capacity)
      for (const [index, slot] of this.#slots.entries())
        for (let head = 0; head < kvHeads; head++) {
          const size = (slot?.length ?? 0) * headDim
          const from = this.#at({ index, head, row: 0 })
          await this.#turns.before(size * Float32Array.BYTES_PER_ELEMENT)
          longer.set(buffer.subarray(from, from + size), (from / this.#capacity) * capacity)
        }
      // Frees the memory now rather than at the next garbage collection.
      buffer.buffer.transfer(0)
      buffers.push(longer)
    }
    this.#buffers = buffers
    this.#capacity = capacity
    for (const [index, slot] of this.#slots.entries()) this.#touched[index] = slot?.length ?? 0
  }

  #newBuffer(capacity: number): Float32Array<ArrayBuffer> {
    const { headDim, kvHeads } = this.#config
    const buffer = new Float32Array(this.#slots.length * kvHeads * capacity * headDim)
    fillSparsely(buffer)
    return buffer
  }

  async #giveBack(): Promise<void> {
    const { kvHeads, headDim } = this.#config
    for (const { index, from, to } of this.#leftovers.splice(0))
      for (const buffer of this.#buffers)
        for (let head = 0; head < kvHeads; head++) {
          await this.#turns.before((to - from) * headDim * Float32Array.BYTES_PER_ELEMENT)
          discard(buffer.subarray(this.#at({ index, head, row: from }), this.#at({ index, head, row: to })))
        }
  }

  async #putBlock(slot: HostSlot, { data, rows }: HostRows): Promise<void> {
    const { headDim, kvHeads } = this.#config
    for (const [at, buffer] of this.#buffers.entries()) {
      const copy = data[at] ?? new Float32Array(0)
      const size = (rows[at >> 1] ?? 0) * headDim
      await this.#turns.before(copy.byteLength)
      for (let head = 0; head < kvHeads; head++)
        buffer.set(
          copy.subarray(head * size, (head + 1) * size),
          this.#at({ index: slot.index, head, row: slot.lengths[at >> 1] ?? 0 }),
        )
    }
    slot.grow(rows)
    this.#touch(slot)
  }

  #bind(slots: readonly HostSlot[], first: number): KvBinding {
    const { kvHeads, headDim, layers } = this.#config
    const dims = [slots.length, kvHeads, this.#capacity, headDim]
    const [from, to] = [first, first + slots.length].map((index) => this.#at({ index, head: 0, row: 0 }))
    const tensors = this.#buffers.map((buffer) => float32(buffer.subarray(from, to), dims))
    const named = (prefix: string): Tensors =>
      Object.fromEntries(
        tensors.map((tensor, at) => [`${prefix}_${at % 2 === 0 ? 'key' : 'value'}.${at >> 1}`, tensor]),
      )
    const ordered = slots.toSorted((a, b) => a.index - b.index)
    return {
      slots: ordered,
      lengths: Array.from({ length: layers }, (_, layer) =>
        ordered.map(({ lengths }) => lengths[layer] ?? 0),
      ),
      feeds: named('past'),
      outputs: named('present'),
    }
  }

  /** Makes slots neighbours; the place of the first of them. */
  async #gather(slots: readonly HostSlot[]): Promise<number> {
    const wanted = new Set<HostSlot | undefined>(slots)
    const first = this.#cheapestStretch(wanted)
    const outside = slots.filter(({ index }) => index < first || index >= first + slots.length)
    for (let place = first; place < first + slots.length; place++) {
      if (wanted.has(this.#slots[place])) continue
      const slot = outside.pop()
      if (slot !== undefined) await this.#swap(place, slot.index)
    }
    return first
  }

  /** Where so many neighbouring places begin that the fewest rows must be moved to have these slots there. */
  #cheapestStretch(slots: ReadonlySet<HostSlot | undefined>): number {
    const moved = (first: number) =>
      this.#slots.reduce((rows, slot, at) => {
        const isInside = at >= first && at < first + slots.size
        return rows + (slots.has(slot) === isInside ? 0 : (slot?.length ?? 0))
      }, 0)
    let best = 0
    let fewest = Number.POSITIVE_INFINITY
    for (let first = 0; first + slots.size <= this.#slots.length; first++) {
      const rows = moved(first)
      if (rows >= fewest) continue
      fewest = rows
      best = first
    }
    return best
  }

  async #swap(a: number, b: number): Promise<void> {
    const [slotA, slotB] = [this.#slots[a], this.#slots[b]]
    const rows = { a: slotA?.length ?? 0, b: slotB?.length ?? 0 }
    // The table first: a slot that is allocated in one of the event loop's turns must find its place free.
    this.#place(a, slotB)
    this.#place(b, slotA)
    const longest = Math.max(rows.a, rows.b)
    const { headDim, kvHeads } = this.#config
    const each = Math.max(1, Math.floor(bytesInTurn / (4 * headDim * Float32Array.BYTES_PER_ELEMENT)))
    const kept = new Float32Array(Math.min(each, longest) * headDim)
    for (const buffer of this.#buffers)
      for (let head = 0; head < kvHeads; head++)
        for (let row = 0; row < longest; row += each) {
          const sizeOf = (of: number) => Math.max(0, Math.min(each, of - row)) * headDim
          const [sizeA, sizeB] = [sizeOf(rows.a), sizeOf(rows.b)]
          const [atA, atB] = [this.#at({ index: a, head, row }), this.#at({ index: b, head, row })]
          await this.#turns.before((2 * sizeA + sizeB) * Float32Array.BYTES_PER_ELEMENT)
          kept.set(buffer.subarray(atA, atA + sizeA))
          buffer.copyWithin(atA, atB, atB + sizeB)
          buffer.set(kept.subarray(0, sizeA), atB)
        }
  }

  #place(index: number, slot: HostSlot | undefined): void {
    this.#slots[index] = slot
    if (slot === undefined) return
    slot.index = index
    this.#touch(slot)
  }
}

function checkRoom({ lengths, reserved }: HostSlot, gained: readonly number[]): void {
  for (const [layer, rows] of gained.entries()) {
    const length = lengths[layer] ?? 0
    if (length + rows > reserved)
      throw new QuartetError(
        'internal_error',
        `a slot of ${reserved} rows has ${length} in layer ${layer}; ${rows} more do not fit`,
      )
  }
}
