import { QuartetError } from '../../shared/errors.ts'
import type { KeptRows, TokenRange } from './backend.ts'
import { DeviceKeptRows, KeptPool } from './device-kept-rows.ts'
import type { DeviceRows, RowAt, RowStore } from './device-rows.ts'
import { checkRoom, type PlacedSlot, rowCounts, rowsOf } from './placed-slot.ts'

/** Where the rows of a slot lie from its row `first` on. */
type SlotRows = (first: number) => RowAt

interface KeptStoreOptions {
  /** The store of the slots. */
  readonly slots: RowStore
  /** Rows that may be kept. */
  readonly keptRows: number
  readonly kvHeads: number
}

/** Rows that a device keeps apart from its slots, and the copies from the slots and back to them. */
export class KeptStore {
  /** The memory of the kept rows. */
  readonly store: RowStore
  readonly #rows: DeviceRows
  readonly #slots: RowStore
  readonly #pool: KeptPool
  readonly #kvHeads: number

  /** Throws `OrtError` when the device has no memory for so many rows. */
  constructor(rows: DeviceRows, { keptRows, kvHeads, slots }: KeptStoreOptions) {
    this.#rows = rows
    this.#slots = slots
    this.#kvHeads = kvHeads
    this.store = rows.allocate(keptRows)
    this.#pool = new KeptPool({ rows: keptRows, rowBytes: rows.rowBytes })
  }

  bytesToKeep(slot: PlacedSlot, range: TokenRange): number {
    return this.#pool.bytesOf(rowCounts(rowsOf(slot, range)))
  }

  /** Copies a slot's rows of these tokens. Throws `node_error` when too few rows are free. */
  async keep(slot: PlacedSlot, range: TokenRange, at: SlotRows): Promise<KeptRows> {
    const ranges = rowsOf(slot, range)
    const kept = this.#pool.take(rowCounts(ranges))
    try {
      await this.#rows.copyLayers(
        { from: this.#slots, to: this.store },
        ranges.map(({ from, to }) => ({
          key: `${from}:${to}`,
          rows: to - from,
          from: at(from),
          to: this.#rowsOf(kept),
        })),
      )
      return kept
    } catch (error) {
      kept.release()
      throw error
    }
  }

  /** Copies kept rows behind those of a slot, which grows by them. Throws `internal_error` for rows of another cache. */
  async put(slot: PlacedSlot, kept: readonly KeptRows[], at: SlotRows): Promise<void> {
    for (const block of kept) {
      if (!(block instanceof DeviceKeptRows) || !this.#pool.has(block))
        throw new QuartetError('internal_error', 'rows of another cache, or released ones')
      checkRoom(slot, block.rows)
      await this.#rows.copyLayers(
        { from: this.store, to: this.#slots },
        block.rows.map((rows, layer) => {
          const into = slot.lengths[layer] ?? 0
          return { key: `${rows}:${into}`, rows, from: this.#rowsOf(block), to: at(into) }
        }),
      )
      slot.grow(block.rows)
    }
  }

  #rowsOf({ units }: DeviceKeptRows): RowAt {
    return (head, row) => (units[row] ?? 0) * this.#kvHeads + head
  }
}
