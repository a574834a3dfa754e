import type { ModelConfig } from '../../shared/backbone.ts'
import { QuartetError } from '../../shared/errors.ts'
import { pageRowsOf } from '../graph/paged-cache.ts'
import type { CacheSlot, KeptRows, TokenRange } from './backend.ts'
import { cacheMemory, pagesFor } from './cache-budget.ts'
import { refusal } from './device-refusal.ts'
import {
  DeviceRows,
  type DeviceRowsOptions,
  deviceRowBytes,
  type RowAt,
  type RowStore,
  type StoreViews,
} from './device-rows.ts'
import { Exclusive } from './exclusive.ts'
import { KeptStore } from './kept-store.ts'
import type { KvBinding, KvCache, SlotGrowth } from './kv-cache.ts'
import { Pages, rowStarts } from './page-table.ts'
import { checkRoom, PlacedSlot } from './placed-slot.ts'
import { int32, type Tensors } from './tensors.ts'

export interface PagedCacheLimits {
  /** Slots. */
  readonly maxBatch: number
  /** Rows of all pages; rounded up to whole ones. */
  readonly cacheRows: number
  /** Rows of the longest slot. */
  readonly contextLength: number
  /** Rows of prefixes that may be kept apart from the slots. */
  readonly prefixRows: number
}

/** The page of a run's cache to which rows may be written that nobody reads. */
export function sparePage({ feeds }: KvBinding['tensors']): number {
  const pages = feeds['past_key.0']?.dims[0]
  if (pages === undefined) throw new Error('a run over pages has a cache')
  return pages - 1
}

/**
 * A cache on a device in pages of rows (Kwon et al., 2023, https://arxiv.org/abs/2309.06180): a slot takes as many pages as
 * it reserves rows for, wherever they are free, so that sequences of any lengths run beside each other. The graph's attention
 * finds rows through a table of each sequence's pages (`model/graph/paged-cache.ts`).
 */
export class PagedKvCache implements KvCache {
  readonly #config: ModelConfig
  readonly #limits: PagedCacheLimits
  readonly #rows: DeviceRows
  readonly #pages: Pages
  /** Pages that sequences may have. One more is nobody's (`sparePage`). */
  readonly #count: number
  readonly #store: RowStore
  readonly #views: StoreViews
  readonly #kept: KeptStore
  /** The pages of each slot, in order. */
  readonly #slots = new Map<PlacedSlot, readonly number[]>()
  readonly #exclusive = new Exclusive<PlacedSlot>((slot) => this.#free(slot))

  private constructor(config: ModelConfig, { limits, rows }: { limits: PagedCacheLimits; rows: DeviceRows }) {
    const pageRows = pageRowsOf(config)
    this.#config = config
    this.#limits = limits
    this.#rows = rows
    this.#count = pagesFor(limits.cacheRows, pageRows)
    this.#pages = new Pages({ count: this.#count, pageRows })
    this.#store = rows.allocate((this.#count + 1) * pageRows)
    this.#views = rows.views(this.#store)
    const keptRows = limits.prefixRows + cacheMemory(limits, { config, layout: 'pages' }).stack
    this.#kept = new KeptStore(rows, { slots: this.#store, keptRows, kvHeads: config.kvHeads })
  }

  /** Throws `node_unavailable` that says how much memory the device lacks, and which setting lowers it. */
  static async open(
    config: ModelConfig,
    { limits, ...options }: DeviceRowsOptions & { readonly limits: PagedCacheLimits },
  ): Promise<PagedKvCache> {
    const memory = cacheMemory(limits, { config, layout: 'pages' })
    await using opened = new AsyncDisposableStack()
    try {
      const rows = opened.adopt(await DeviceRows.open(config, options), (failed) => failed.release())
      const cache = new PagedKvCache(config, { limits, rows })
      // A device may tell only when memory is used that it has not given it.
      for (const store of [cache.#store, cache.#kept.store]) await rows.tryOut(store)
      opened.move()
      return cache
    } catch (cause) {
      const rowBytes = deviceRowBytes(config, options.type)
      throw refusal(cause, { ...memory, prefixes: limits.prefixRows, rowBytes })
    }
  }

  get hostBytes(): number {
    return this.#rows.hostBytes
  }

  get takenRows(): number {
    return (this.#count - this.#pages.free) * this.#pages.pageRows
  }

  allocate(rows: number): CacheSlot | undefined {
    if (this.#slots.size === this.#limits.maxBatch || rows > this.#limits.contextLength) return undefined
    const pages = this.#pages.take(rows)
    if (pages === undefined) return undefined
    const slot = new PlacedSlot({
      reserved: rows,
      index: 0,
      layers: this.#config.layers,
      free: (released) => this.#exclusive.free(released),
    })
    this.#slots.set(slot, pages)
    return slot
  }

  bytesToKeep(slot: CacheSlot, range: TokenRange): number {
    return this.#kept.bytesToKeep(this.#own(slot), range)
  }

  keep(slot: CacheSlot, range: TokenRange): Promise<KeptRows> {
    return this.#exclusive.run(async () => {
      const own = this.#own(slot)
      return await this.#kept.keep(own, range, (first) => this.#inPages(own, first))
    })
  }

  put(slot: CacheSlot, kept: readonly KeptRows[]): Promise<void> {
    return this.#exclusive.run(async () => {
      const own = this.#own(slot)
      await this.#kept.put(own, kept, (first) => this.#inPages(own, first))
    })
  }

  append(sequences: readonly SlotGrowth[], run: (binding: KvBinding) => Promise<void>): Promise<void> {
    return this.#exclusive.run(async () => {
      const own = sequences.map(({ gained, slot }) => ({ gained, slot: this.#own(slot) }))
      for (const { gained, slot } of own) checkRoom(slot, gained)
      const slots = own.map(({ slot }) => slot)
      const lengths = this.#perLayer((layer) => slots.map((slot) => slot.lengths[layer] ?? 0))
      const gains = this.#perLayer((layer) => own.map(({ gained }) => gained[layer] ?? 0))
      const { headDim, kvHeads } = this.#config
      const tensors = this.#views.of([this.#count + 1, this.#pages.pageRows, kvHeads, headDim])
      await run({ slots, lengths, positions: this.#positions(slots, { gains, lengths }), tensors })
      for (const { gained, slot } of own) slot.grow(gained)
    })
  }

  /** Frees the device's memory when the last run has ended. */
  async release(): Promise<void> {
    await this.#exclusive.settled()
    await this.#rows.release()
  }

  #positions(
    slots: readonly PlacedSlot[],
    { gains, lengths }: { readonly [N in 'gains' | 'lengths']: readonly (readonly number[])[] },
  ): Tensors {
    const { layers } = this.#config
    const totals = lengths.map((ofLayer, layer) =>
      ofLayer.map((length, index) => length + (gains[layer]?.[index] ?? 0)),
    )
    const sequences = slots.map((slot, index) => ({
      pages: this.#pagesOf(slot),
      rows: Math.max(...totals.map((ofLayer) => ofLayer[index] ?? 0)),
    }))
    const { table, width } = this.#pages.blockTable(sequences)
    const longest = totals.map((ofLayer) => Math.max(...ofLayer))
    return {
      row_starts: int32(gains.flatMap(rowStarts), [layers, slots.length + 1]),
      past_rows: int32(lengths.flat(), [layers, slots.length]),
      block_table: int32(table, [slots.length, width]),
      row_bounds: int32([Math.max(...gains.flat()), Math.max(...longest), Math.min(...longest)]),
    }
  }

  #perLayer<T>(of: (layer: number) => T): T[] {
    return Array.from({ length: this.#config.layers }, (_, layer) => of(layer))
  }

  #inPages(slot: PlacedSlot, first: number): RowAt {
    const pages = this.#pagesOf(slot)
    return (head, row) => this.#pages.rowAt(pages, first + row) * this.#config.kvHeads + head
  }

  #own(slot: CacheSlot): PlacedSlot {
    if (slot instanceof PlacedSlot && this.#slots.has(slot)) return slot
    throw new QuartetError('internal_error', 'this slot was released, or is of another cache')
  }

  #pagesOf(slot: PlacedSlot): readonly number[] {
    return this.#slots.get(slot) ?? []
  }

  #free(slot: PlacedSlot): void {
    this.#pages.give(this.#pagesOf(slot))
    this.#slots.delete(slot)
  }
}
