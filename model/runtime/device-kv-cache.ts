import type { ModelConfig } from '../../shared/backbone.ts'
import { QuartetError } from '../../shared/errors.ts'
import type { CacheSlot, KeptRows, TokenRange } from './backend.ts'
import { cacheMemory } from './cache-budget.ts'
import { DevicePlaces, type Layout } from './device-places.ts'
import { refusal } from './device-refusal.ts'
import {
  DeviceRows,
  type DeviceRowsOptions,
  deviceRowBytes,
  type LayerCopy,
  type RowAt,
  type RowCopies,
  type RowStore,
  type StoreViews,
} from './device-rows.ts'
import { Exclusive } from './exclusive.ts'
import { KeptStore } from './kept-store.ts'
import type { KvBinding, KvCache, SlotGrowth } from './kv-cache.ts'
import { checkRoom, PlacedSlot } from './placed-slot.ts'
import { evenGrowth, slotPositions } from './slot-positions.ts'
import { Turns } from './turns.ts'

export interface DeviceCacheLimits {
  /** Slots. */
  readonly maxBatch: number
  /** Rows of all places together. */
  readonly cacheRows: number
  /** Rows of the longest slot, less than `cacheRows`. */
  readonly contextLength: number
  /** Rows of prefixes that may be kept apart from the slots. */
  readonly prefixRows: number
}

/** Heads' rows whose places are listed between two turns of the event loop. */
const rowsInTurn = 16 * 1024

/**
 * A cache in a device's memory, allocated once, of which nothing crosses to the host. The graph reads the places as its past
 * and appends to them in place.
 *
 * A tensor on a device begins where its memory begins. So a batch runs over all places from the first to its last one; a
 * place in between that is not in it gets a row that its own next run overwrites. A prompt's chunk would be too dear that
 * way: it runs in the lane, memory for one slot, and its new rows are copied to the slot's place.
 */
export class DeviceKvCache implements KvCache {
  readonly #config: ModelConfig
  readonly #limits: DeviceCacheLimits
  readonly #rows: DeviceRows
  readonly #stores: { readonly places: RowStore; readonly lane: RowStore }
  readonly #views: { readonly places: StoreViews; readonly lane: StoreViews }
  readonly #kept: KeptStore
  readonly #places: DevicePlaces
  /** The slot whose first rows the lane holds, and how many of each layer. */
  #inLane: { readonly slot: PlacedSlot; readonly lengths: readonly number[] } | undefined
  readonly #exclusive = new Exclusive<PlacedSlot>((slot) => this.#free(slot))
  readonly #turns = new Turns(rowsInTurn)

  private constructor(
    config: ModelConfig,
    { limits, rows }: { limits: DeviceCacheLimits; rows: DeviceRows },
  ) {
    this.#config = config
    this.#limits = limits
    this.#rows = rows
    this.#stores = {
      places: rows.allocate(limits.cacheRows),
      lane: rows.allocate(limits.contextLength),
    }
    this.#views = { places: rows.views(this.#stores.places), lane: rows.views(this.#stores.lane) }
    this.#places = new DevicePlaces(limits)
    const keptRows = limits.prefixRows + cacheMemory(limits, { config, layout: 'slots' }).stack
    this.#kept = new KeptStore(rows, { slots: this.#stores.places, keptRows, kvHeads: config.kvHeads })
  }

  /** Throws `node_unavailable` that says how much memory the device lacks, and which setting lowers it. */
  static async open(
    config: ModelConfig,
    { limits, ...options }: DeviceRowsOptions & { readonly limits: DeviceCacheLimits },
  ): Promise<DeviceKvCache> {
    const memory = cacheMemory(limits, { config, layout: 'slots' })
    await using opened = new AsyncDisposableStack()
    try {
      const rows = opened.adopt(await DeviceRows.open(config, options), (failed) => failed.release())
      const cache = new DeviceKvCache(config, { limits, rows })
      // A device may tell only when memory is used that it has not given it.
      for (const store of [...Object.values(cache.#stores), cache.#kept.store]) await rows.tryOut(store)
      opened.move()
      return cache
    } catch (cause) {
      const rowBytes = deviceRowBytes(config, options.type)
      throw refusal(cause, { ...memory, prefixes: limits.prefixRows, rowBytes })
    }
  }

  /** Bytes of this process's memory that its own runs have read: where rows lie, and nothing of the rows. */
  get hostBytes(): number {
    return this.#rows.hostBytes
  }

  get takenRows(): number {
    return this.#places.takenRows
  }

  allocate(rows: number): CacheSlot | undefined {
    const index = this.#places.placeFor(rows)
    if (index === undefined || rows > this.#limits.contextLength) return undefined
    const { layers } = this.#config
    const free = (released: PlacedSlot) => this.#exclusive.free(released)
    const slot = new PlacedSlot({ reserved: rows, index, layers, free })
    this.#places.set(index, slot)
    return slot
  }

  bytesToKeep(slot: CacheSlot, range: TokenRange): number {
    return this.#kept.bytesToKeep(this.#own(slot), range)
  }

  keep(slot: CacheSlot, range: TokenRange): Promise<KeptRows> {
    return this.#exclusive.run(async () => {
      const own = this.#own(slot)
      return await this.#kept.keep(own, range, (first) => this.#inPlace(own, first))
    })
  }

  put(slot: CacheSlot, kept: readonly KeptRows[]): Promise<void> {
    return this.#exclusive.run(async () => {
      await this.#arrange()
      const own = this.#own(slot)
      this.#staleInLane(own)
      await this.#kept.put(own, kept, (first) => this.#inPlace(own, first))
    })
  }

  append(sequences: readonly SlotGrowth[], run: (binding: KvBinding) => Promise<void>): Promise<void> {
    return this.#exclusive.run(async () => {
      const gained = evenGrowth(sequences)
      const own = sequences.map(({ slot }) => this.#own(slot))
      for (const slot of own) checkRoom(slot, gained)
      await this.#arrange()
      const [first] = own
      if (own.length === 1 && first !== undefined && first.index > 0 && Math.max(...gained) > 1)
        await this.#runInLane(first, { gained, run })
      else await this.#runInPlaces(own, { gained, run })
      for (const slot of own) slot.grow(gained)
    })
  }

  /** Frees the device's memory when the last run has ended. */
  async release(): Promise<void> {
    await this.#exclusive.settled()
    await this.#rows.release()
  }

  async #runInPlaces(
    slots: readonly PlacedSlot[],
    { gained, run }: { gained: readonly number[]; run: (binding: KvBinding) => Promise<void> },
  ): Promise<void> {
    const count = Math.max(...slots.map(({ index }) => index)) + 1
    const inBatch = new Set(slots)
    const rows = Array.from({ length: count }, (_, place) => this.#places.at(place))
    const { headDim, kvHeads, layers } = this.#config
    const tensors = this.#views.places.of([count, kvHeads, this.#places.layout.capacity, headDim])
    const lengths = Array.from({ length: layers }, (_, layer) =>
      rows.map((slot) => slot?.lengths[layer] ?? 0),
    )
    await run({
      slots: rows.map((slot) => (slot !== undefined && inBatch.has(slot) ? slot : undefined)),
      lengths,
      positions: slotPositions(lengths, gained),
      tensors,
    })
    for (const slot of slots) this.#staleInLane(slot)
  }

  async #runInLane(
    slot: PlacedSlot,
    { gained, run }: { gained: readonly number[]; run: (binding: KvBinding) => Promise<void> },
  ): Promise<void> {
    const lengths = [...slot.lengths]
    const there = this.#inLane?.slot === slot ? this.#inLane.lengths : lengths.map(() => 0)
    this.#inLane = undefined
    const { lane, places } = this.#stores
    await this.#rows.copyLayers(
      { from: places, to: lane },
      lengths.map((length, layer) => {
        const from = Math.min(there[layer] ?? 0, length)
        const to = this.#laneAt(from)
        return { key: `${from}:${length}`, rows: length - from, from: this.#inPlace(slot, from), to }
      }),
    )
    const { headDim, kvHeads } = this.#config
    const tensors = this.#views.lane.of([1, kvHeads, this.#limits.contextLength, headDim])
    const before = lengths.map((length) => [length])
    await run({ slots: [slot], lengths: before, positions: slotPositions(before, gained), tensors })
    await this.#rows.copyLayers(
      { from: lane, to: places },
      gained.map((rows, layer) => {
        const at = lengths[layer] ?? 0
        return { key: `${rows}:${at}`, rows, from: this.#laneAt(at), to: this.#inPlace(slot, at) }
      }),
    )
    this.#inLane = { slot, lengths: lengths.map((length, layer) => length + (gained[layer] ?? 0)) }
  }

  /** Rows behind those that the slot has now are written at its place alone. */
  #staleInLane(slot: PlacedSlot): void {
    if (this.#inLane?.slot !== slot) return
    const { lengths } = this.#inLane
    this.#inLane = {
      slot,
      lengths: lengths.map((length, layer) => Math.min(length, slot.lengths[layer] ?? 0)),
    }
  }

  /** Closes gaps between the places in use, and gives each place room for the longest slot. */
  async #arrange(): Promise<void> {
    const { places } = this.#stores
    for (let move = this.#places.nextMove(); move !== undefined; move = this.#places.nextMove()) {
      const { slot, to } = move
      using held = this.#places.hold(to)
      await this.#rows.copyLayers(
        { from: places, to: places },
        this.#wholeSlot(slot, [this.#inPlace(slot, 0), this.#placeAt(to, 0)]),
      )
      // Last: where the copy fails, the slot's rows are still where they were.
      held.take(slot)
    }
    const wanted = this.#places.wantedLayout
    if (wanted.capacity !== this.#places.layout.capacity) await this.#setLayout(wanted)
  }

  /**
   * Moves all rows at once, in an order in which none is overwritten before it is read. It takes several runs: where one
   * fails, rows lie in both ways.
   */
  async #setLayout(wanted: Layout): Promise<void> {
    const { places } = this.#stores
    const filled = this.#places.slots.filter(({ length }) => length > 0)
    const copies = await this.#copiesInto(wanted, filled)
    try {
      await this.#rows.copy({ from: places, to: places }, copies)
    } catch (error) {
      for (const slot of filled) slot.lose()
      throw error
    }
    this.#places.layout = wanted
  }

  /** Layers in which the slots have the same lengths copy the same. */
  async #copiesInto(wanted: Layout, slots: readonly PlacedSlot[]): Promise<readonly RowCopies[]> {
    const { kvHeads, layers } = this.#config
    const before = this.#places.layout
    const made = new Map<string, RowCopies>()
    const copies: RowCopies[] = []
    for (let layer = 0; layer < layers; layer++) {
      const ofLayer = slots.map(({ index, lengths }) => ({ index, rows: lengths[layer] ?? 0 }))
      const key = ofLayer.map(({ rows }) => rows).join()
      const [from, to]: [number[], number[]] = [[], []]
      const copy = made.get(key) ?? { from, to }
      copies.push(copy)
      if (made.has(key)) continue
      made.set(key, copy)
      for (const { index, rows } of ofLayer)
        for (let head = 0; head < kvHeads; head++) {
          await this.#turns.before(rows)
          const place = index * kvHeads + head
          for (let row = 0; row < rows; row++) {
            from.push(place * before.capacity + row)
            to.push(place * wanted.capacity + row)
          }
        }
      if (wanted.capacity > before.capacity) for (const rows of [from, to]) rows.reverse()
    }
    return copies
  }

  #wholeSlot({ lengths }: PlacedSlot, [from, to]: readonly [RowAt, RowAt]): LayerCopy[] {
    return Array.from(lengths, (rows) => ({ key: `${rows}`, rows, from, to }))
  }

  #placeAt(place: number, first: number): RowAt {
    const { capacity } = this.#places.layout
    return (head, row) => (place * this.#config.kvHeads + head) * capacity + first + row
  }

  #inPlace({ index }: PlacedSlot, first: number): RowAt {
    return this.#placeAt(index, first)
  }

  #laneAt(first: number): RowAt {
    return (head, row) => head * this.#limits.contextLength + first + row
  }

  #own(slot: CacheSlot): PlacedSlot {
    if (slot instanceof PlacedSlot && this.#places.has(slot)) {
      slot.checkRows()
      return slot
    }
    throw new QuartetError('internal_error', 'this slot was released, or is of another cache')
  }

  #free(slot: PlacedSlot): void {
    if (this.#inLane?.slot === slot) this.#inLane = undefined
    this.#places.set(slot.index, undefined)
  }
}
