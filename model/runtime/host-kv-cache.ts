import type { ModelConfig } from '../../shared/backbone.ts'
import { QuartetError } from '../../shared/errors.ts'
import type { CacheSlot, KeptRows, TokenRange } from './backend.ts'
import { cacheRowBytes } from './cache-budget.ts'
import { bytesOfCacheType, type CacheType } from './cache-type.ts'
import { type Bind, HostBuffers } from './host-buffers.ts'
import { HostPlaces, type RowRange } from './host-places.ts'
import { HostRows } from './host-rows.ts'
import type { KvBinding, KvCache, SlotGrowth } from './kv-cache.ts'
import type { FeedsAndOutputs } from './ort/bound-tensors.ts'
import { checkRoom, PlacedSlot, rowCounts, rowsOf } from './placed-slot.ts'
import { evenGrowth, slotPositions } from './slot-positions.ts'
import type { Tensors } from './tensors.ts'

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
  /** f32 when absent. */
  readonly type?: CacheType | undefined
}

/** The cache of some sequences in host memory. */
interface HostBinding extends KvBinding {
  readonly slots: readonly CacheSlot[]
  readonly tensors: FeedsAndOutputs<Tensors>
}

/** Bytes of the longest array in every JavaScript engine that runs this. */
const mostBytes = 2 ** 32 - 1

/** What bounds the longest sequence: whoever gave the memory has not given the tokens. */
const lowering = '--cache-rows (or --cache-bytes)'

/**
 * A cache in host memory, whose buffers the graph reads as its past and appends to in place, so that a run copies
 * nothing. The sequences of a batch must be neighbours: those that are not are moved.
 *
 * The buffers are made once, unless `firstCapacity` is less than a sequence needs. The memory that ended sequences left
 * behind counts in `cacheRows`, and is given back when it and the reserved rows together would pass that.
 */
export class HostKvCache implements KvCache {
  /** Its rows are copied by this process, and cross nowhere. */
  readonly hostBytes = 0
  readonly #config: ModelConfig
  readonly #limits: KvCacheLimits
  readonly #places: HostPlaces
  readonly #buffers: HostBuffers
  /** The rows of the longest slot, which the buffers get room for before anything else is written. */
  #longest = 0
  /** Memory to give back before anything else is written. */
  readonly #leftovers: RowRange[] = []
  #busy = false
  readonly #releasedWhileBusy: PlacedSlot[] = []

  /** Throws `invalid_request` when an array cannot be that long, `node_unavailable` when the system gives no such memory. */
  constructor(config: ModelConfig, { bind, ...limits }: KvCacheLimits & { readonly bind: Bind }) {
    const { headDim, kvHeads } = config
    const { maxBatch, type = 'f32' } = limits
    this.#config = config
    this.#limits = limits
    if (maxBatch * kvHeads * this.#mostCapacity * headDim * bytesOfCacheType[type] > mostBytes)
      throw new QuartetError(
        'invalid_request',
        `${maxBatch} sequences of up to ${this.#mostCapacity} tokens are more than the KV cache of a layer can hold: lower --max-batch or ${lowering}`,
        { param: '--max-batch' },
      )
    this.#places = new HostPlaces(maxBatch)
    this.#buffers = new HostBuffers(config, { bind, places: maxBatch, type })
    try {
      this.#startOver()
    } catch (cause) {
      const rows = maxBatch * Math.min(limits.firstCapacity, this.#mostCapacity)
      throw new QuartetError(
        'node_unavailable',
        `there is no room for the KV cache: ${maxBatch} sequences of up to ${this.#mostCapacity} tokens need ${Math.ceil((rows * cacheRowBytes(config, type)) / 2 ** 20)} MiB of address space, though they take memory only as they grow: lower --max-batch or ${lowering}`,
        { cause, param: '--max-batch' },
      )
    }
  }

  /** Rows that the buffers have room for in each slot. */
  get capacity(): number {
    return this.#buffers.capacity
  }

  get #mostCapacity(): number {
    return Math.min(this.#limits.contextLength, this.#limits.cacheRows)
  }

  get takenRows(): number {
    return this.#places.reserved
  }

  allocate(rows: number): CacheSlot | undefined {
    const { cacheRows } = this.#limits
    const index = this.#places.placeFor(rows)
    if (index === undefined || this.#places.reserved + rows > cacheRows || rows > this.#mostCapacity)
      return undefined
    const isTight = this.#places.committedWith({ place: index, rows }) > cacheRows
    // Slots may be moving.
    if (isTight && this.#busy) return undefined
    const slot = new PlacedSlot({
      reserved: rows,
      index,
      layers: this.#config.layers,
      free: (released) => this.#free(released),
    })
    this.#places.set(index, slot)
    this.#longest = Math.max(this.#longest, rows)
    if (isTight) this.#leftovers.push(...this.#places.takeLeftovers())
    return slot
  }

  bytesToKeep(slot: CacheSlot, range: TokenRange): number {
    const rows = rowCounts(rowsOf(this.#own(slot), range))
    return rows.reduce((sum, count) => sum + count, 0) * this.#buffers.rowBytes
  }

  keep(slot: CacheSlot, range: TokenRange): Promise<KeptRows> {
    return this.#whileBusy(async () => {
      const own = this.#own(slot)
      const { index } = own
      const layers = rowsOf(own, range)
      const data = await this.#buffers.read({ place: index, layers })
      return new HostRows({ data, rows: rowCounts(layers) })
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
        const layers = block.rows.map((rows, layer) => {
          const from = own.lengths[layer] ?? 0
          return { from, to: from + rows }
        })
        await this.#buffers.write(block.data, { place: own.index, layers })
        own.grow(block.rows)
        this.#places.noteWritten(own)
      }
    })
  }

  append(sequences: readonly SlotGrowth[], run: (binding: HostBinding) => Promise<void>): Promise<void> {
    return this.#whileBusy(async () => {
      const gained = evenGrowth(sequences)
      const own = sequences.map(({ slot }) => this.#own(slot))
      for (const slot of own) checkRoom(slot, gained)
      await this.#makeRoom()
      const first = await this.#gather(own)
      await run(this.#bind(own, { first, gained }))
      for (const slot of own) {
        slot.grow(gained)
        this.#places.noteWritten(slot)
      }
    })
  }

  /** The garbage collector frees the memory. */
  async release(): Promise<void> {
    this.#buffers.release()
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

  #own(slot: CacheSlot): PlacedSlot {
    if (slot instanceof PlacedSlot && this.#places.has(slot)) {
      slot.checkRows()
      return slot
    }
    throw new QuartetError('internal_error', 'this slot was released, or is of another cache')
  }

  #free(slot: PlacedSlot): void {
    if (this.#busy) {
      this.#releasedWhileBusy.push(slot)
      return
    }
    this.#places.set(slot.index, undefined)
    if (this.#places.isEmpty && this.capacity > this.#limits.firstCapacity) this.#startOver()
  }

  #startOver(): void {
    this.#longest = 0
    this.#leftovers.length = 0
    this.#buffers.reset(Math.min(this.#limits.firstCapacity, this.#mostCapacity))
    this.#places.forgetWritten()
  }

  async #makeRoom(): Promise<void> {
    await this.#buffers.giveBack(this.#leftovers.splice(0))
    if (this.#longest <= this.capacity) return
    const capacity = Math.min(this.#mostCapacity, Math.max(this.#longest, Math.ceil(this.capacity * 1.5)))
    await this.#buffers.lengthen(capacity, this.#places.lengths)
    this.#places.forgetWritten()
  }

  #bind(
    slots: readonly PlacedSlot[],
    { first, gained }: { first: number; gained: readonly number[] },
  ): HostBinding {
    const ordered = slots.toSorted((a, b) => a.index - b.index)
    const lengths = Array.from({ length: this.#config.layers }, (_, layer) =>
      ordered.map((slot) => slot.lengths[layer] ?? 0),
    )
    return {
      slots: ordered,
      lengths,
      positions: slotPositions(lengths, gained),
      tensors: this.#buffers.tensors({ first, count: slots.length }),
    }
  }

  /** Makes slots neighbours; the place of the first of them. */
  async #gather(slots: readonly PlacedSlot[]): Promise<number> {
    const wanted = new Set<PlacedSlot | undefined>(slots)
    const first = this.#places.cheapestStart(wanted)
    const outside = slots.filter(({ index }) => index < first || index >= first + slots.length)
    for (let place = first; place < first + slots.length; place++) {
      if (wanted.has(this.#places.at(place))) continue
      const slot = outside.pop()
      if (slot !== undefined) await this.#swap(place, slot.index)
    }
    return first
  }

  async #swap(a: number, b: number): Promise<void> {
    const [slotA, slotB] = [this.#places.at(a), this.#places.at(b)]
    const [rowsA, rowsB] = [slotA?.length ?? 0, slotB?.length ?? 0]
    // The table first: a slot that is allocated in one of the event loop's turns must find its place free.
    this.#places.set(a, slotB)
    this.#places.set(b, slotA)
    try {
      await this.#buffers.swap({ place: a, rows: rowsA }, { place: b, rows: rowsB })
    } catch (error) {
      for (const slot of [slotA, slotB]) slot?.lose()
      throw error
    }
  }
}
