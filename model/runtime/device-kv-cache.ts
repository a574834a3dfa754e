import type { ModelConfig } from '../../shared/backbone.ts'
import { QuartetError } from '../../shared/errors.ts'
import type { CacheSlot, KeptRows, TokenRange } from './backend.ts'
import { DeviceKeptRows, KeptPool } from './device-kept-rows.ts'
import { DevicePlaces, type Layout, spareRows } from './device-places.ts'
import { DeviceRows, type DeviceRowsOptions, type RowCopies, type RowStore } from './device-rows.ts'
import type { KvBinding, KvCache } from './kv-cache.ts'
import type { DeviceTensor, RunTensors } from './ort/device-memory.ts'
import { checkRoom, PlacedSlot, rowsOf } from './placed-slot.ts'

export interface DeviceCacheLimits {
  /** Slots. */
  readonly maxBatch: number
  /** Rows of all places together. */
  readonly cacheRows: number
  /** Rows of the longest slot, less than `cacheRows`. */
  readonly contextLength: number
  /** Rows that may be kept apart from the slots. */
  readonly keptRows: number
}

/** Rows of the longest slot that places of so many rows together have room for. */
export const longestOnDevice = (cacheRows: number): number => cacheRows - spareRows

/** Where a head's row of a slot, the lane or kept rows lies in its store. */
type RowAt = (head: number, row: number) => number

/** A layer's rows to copy. Layers with the same `key` copy the same. */
interface LayerCopy {
  readonly key: string
  readonly rows: number
  readonly from: RowAt
  readonly to: RowAt
}

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
  readonly #stores: { readonly places: RowStore; readonly lane: RowStore; readonly kept: RowStore }
  readonly #places: DevicePlaces
  readonly #pool: KeptPool
  /** The slot whose first rows the lane holds, and how many of each layer. */
  #inLane: { readonly slot: PlacedSlot; readonly lengths: readonly number[] } | undefined
  #working: Promise<unknown> | undefined
  readonly #releasedMeanwhile: PlacedSlot[] = []

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
      kept: rows.allocate(limits.keptRows),
    }
    this.#places = new DevicePlaces(limits)
    this.#pool = new KeptPool({ rows: limits.keptRows, rowBytes: rows.rowBytes })
  }

  /** Throws `node_unavailable` that says how much memory the device lacks, and which setting lowers it. */
  static async open(
    config: ModelConfig,
    { limits, ...options }: DeviceRowsOptions & { readonly limits: DeviceCacheLimits },
  ): Promise<DeviceKvCache> {
    const rows = await DeviceRows.open(config, options)
    try {
      const cache = new DeviceKvCache(config, { limits, rows })
      // A device may tell only when memory is used that it has not given it.
      for (const store of Object.values(cache.#stores)) await rows.tryOut(store)
      return cache
    } catch (cause) {
      await rows.release()
      throw isWithoutHalves(cause)
        ? new QuartetError(
            'node_unavailable',
            'the device does not compute with 16-bit floats: use --cache-type f32',
            { cause },
          )
        : noMemory(rows.rowBytes, { cause, limits })
    }
  }

  /** Bytes of this process's memory that its own runs have read: where rows lie, and nothing of the rows. */
  get hostBytes(): number {
    return this.#rows.hostBytes
  }

  allocate(rows: number): CacheSlot | undefined {
    const index = this.#places.placeFor(rows)
    if (index === undefined || rows > this.#limits.contextLength) return undefined
    const { layers } = this.#config
    const free = (released: PlacedSlot) => this.#free(released)
    const slot = new PlacedSlot({ reserved: rows, index, layers, free })
    this.#places.set(index, slot)
    return slot
  }

  keep(slot: CacheSlot, range: TokenRange): Promise<KeptRows> {
    return this.#alone(async () => {
      const own = this.#own(slot)
      const ranges = rowsOf(own, range)
      const kept = this.#pool.take(ranges.map(({ from, to }) => to - from))
      try {
        await this.#copy(
          { from: this.#stores.places, to: this.#stores.kept },
          ranges.map(({ from, to }) => ({
            key: `${from}:${to}`,
            rows: to - from,
            from: this.#inPlace(own, from),
            to: this.#inPool(kept),
          })),
        )
        return kept
      } catch (error) {
        kept.release()
        throw error
      }
    })
  }

  put(slot: CacheSlot, kept: readonly KeptRows[]): Promise<void> {
    return this.#alone(async () => {
      await this.#arrange()
      const own = this.#own(slot)
      for (const block of kept) {
        if (!(block instanceof DeviceKeptRows) || !this.#pool.has(block))
          throw new QuartetError('internal_error', 'rows of another cache, or released ones')
        checkRoom(own, block.rows)
        await this.#copy(
          { from: this.#stores.kept, to: this.#stores.places },
          block.rows.map((rows, layer) => {
            const into = own.lengths[layer] ?? 0
            return { key: `${rows}:${into}`, rows, from: this.#inPool(block), to: this.#inPlace(own, into) }
          }),
        )
        this.#staleInLane(own)
        own.grow(block.rows)
      }
    })
  }

  append(
    { slots, gained }: { slots: readonly CacheSlot[]; gained: readonly number[] },
    run: (binding: KvBinding) => Promise<void>,
  ): Promise<void> {
    return this.#alone(async () => {
      const own = slots.map((slot) => this.#own(slot))
      for (const slot of own) checkRoom(slot, gained)
      await this.#arrange()
      const [first] = own
      if (own.length === 1 && first !== undefined && first.index > 0 && Math.max(...gained) > 1)
        await this.#runInLane(first, { gained, run })
      else await this.#runInPlaces(own, run)
      for (const slot of own) slot.grow(gained)
    })
  }

  /** Frees the device's memory when the last run has ended. */
  async release(): Promise<void> {
    await this.#working?.catch(() => {})
    await this.#rows.release()
  }

  async #runInPlaces(
    slots: readonly PlacedSlot[],
    run: (binding: KvBinding) => Promise<void>,
  ): Promise<void> {
    const count = Math.max(...slots.map(({ index }) => index)) + 1
    const inBatch = new Set(slots)
    const rows = Array.from({ length: count }, (_, place) => this.#places.at(place))
    using views = this.#views(this.#stores.places, { capacity: this.#places.layout.capacity, count })
    await run({
      slots: rows.map((slot) => (slot !== undefined && inBatch.has(slot) ? slot : undefined)),
      lengths: Array.from({ length: this.#config.layers }, (_, layer) =>
        rows.map((slot) => slot?.lengths[layer] ?? 0),
      ),
      ...views,
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
    await this.#copy(
      { from: places, to: lane },
      lengths.map((length, layer) => {
        const from = Math.min(there[layer] ?? 0, length)
        const to = this.#laneAt(from)
        return { key: `${from}:${length}`, rows: length - from, from: this.#inPlace(slot, from), to }
      }),
    )
    using views = this.#views(lane, { capacity: this.#limits.contextLength, count: 1 })
    await run({ slots: [slot], lengths: lengths.map((length) => [length]), ...views })
    await this.#copy(
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
      const from = slot.index
      // The table first: a slot that is allocated meanwhile must find its place free.
      this.#places.move(slot, to)
      await this.#copy(
        { from: places, to: places },
        this.#wholeSlot(slot, [this.#placeAt(from, 0), this.#placeAt(to, 0)]),
      )
    }
    const wanted = this.#places.wantedLayout
    if (wanted.capacity !== this.#places.layout.capacity) await this.#setLayout(wanted)
  }

  /** Moves all rows at once, in an order in which none is overwritten before it is read. */
  async #setLayout(wanted: Layout): Promise<void> {
    const { kvHeads, layers } = this.#config
    const before = this.#places.layout
    const copies = Array.from({ length: layers }, (_, layer) => {
      const [from, to]: [number[], number[]] = [[], []]
      for (const { index, lengths } of this.#places.slots)
        for (let head = 0; head < kvHeads; head++)
          for (let row = 0; row < (lengths[layer] ?? 0); row++) {
            const place = index * kvHeads + head
            from.push(place * before.capacity + row)
            to.push(place * wanted.capacity + row)
          }
      return wanted.capacity > before.capacity ? { from: from.reverse(), to: to.reverse() } : { from, to }
    })
    const { places } = this.#stores
    await this.#rows.copy({ from: places, to: places }, copies)
    this.#places.layout = wanted
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

  #inPool({ units }: DeviceKeptRows): RowAt {
    return (head, row) => (units[row] ?? 0) * this.#config.kvHeads + head
  }

  async #copy(stores: { from: RowStore; to: RowStore }, layers: readonly LayerCopy[]): Promise<void> {
    const { kvHeads } = this.#config
    const made = new Map<string, RowCopies>()
    const copies = layers.map(({ from, key, rows, to }) => {
      const known = made.get(key)
      if (known !== undefined) return known
      const [sources, targets]: [number[], number[]] = [[], []]
      for (let head = 0; head < kvHeads; head++)
        for (let row = 0; row < rows; row++) {
          sources.push(from(head, row))
          targets.push(to(head, row))
        }
      const copy = { from: sources, to: targets }
      made.set(key, copy)
      return copy
    })
    await this.#rows.copy(stores, copies)
  }

  /** A store as inputs and outputs of the serving graph: `count` places of so many rows, from the first on. */
  #views(
    store: RowStore,
    { capacity, count }: { capacity: number; count: number },
  ): { feeds: RunTensors; outputs: RunTensors } & Disposable {
    const { headDim, kvHeads } = this.#config
    const tensors = store.map((tensor) => tensor.as([count, kvHeads, capacity, headDim]))
    const named = (prefix: string): RunTensors =>
      Object.fromEntries(
        tensors.map((tensor, at) => [`${prefix}_${at % 2 === 0 ? 'key' : 'value'}.${at >> 1}`, tensor]),
      )
    return { feeds: named('past'), outputs: named('present'), [Symbol.dispose]: () => disposeOf(tensors) }
  }

  #own(slot: CacheSlot): PlacedSlot {
    if (slot instanceof PlacedSlot && this.#places.has(slot)) return slot
    throw new QuartetError('internal_error', 'this slot was released, or is of another cache')
  }

  #free(slot: PlacedSlot): void {
    if (this.#working !== undefined) {
      this.#releasedMeanwhile.push(slot)
      return
    }
    if (this.#inLane?.slot === slot) this.#inLane = undefined
    this.#places.set(slot.index, undefined)
  }

  /** One at a time; slots that are released meanwhile are freed afterwards. */
  async #alone<T>(work: () => Promise<T>): Promise<T> {
    if (this.#working !== undefined) throw new QuartetError('internal_error', 'the cache is in use')
    const working = work()
    this.#working = working
    try {
      return await working
    } finally {
      this.#working = undefined
      for (const slot of this.#releasedMeanwhile.splice(0)) this.#free(slot)
    }
  }
}

function disposeOf(tensors: readonly DeviceTensor[]): void {
  for (const tensor of tensors) tensor[Symbol.dispose]()
}

/** What ONNX Runtime says of a shader for which a device lacks 16-bit floats. */
const isWithoutHalves = (error: unknown): boolean =>
  error instanceof Error && /f16 but the device does not support it/.test(error.message)

function noMemory(
  rowBytes: number,
  { cause, limits }: { cause: unknown; limits: DeviceCacheLimits },
): QuartetError {
  const { cacheRows, contextLength, keptRows } = limits
  const mib = (rows: number) => Math.ceil((rows * rowBytes) / 2 ** 20)
  return new QuartetError(
    'node_unavailable',
    `the device has no room for the KV cache: it needs ${mib(cacheRows + contextLength)} MiB for running requests (lower --cache-bytes or --cache-rows) and ${mib(keptRows)} MiB for kept prefixes (lower --prefix-bytes)`,
    { cause },
  )
}
