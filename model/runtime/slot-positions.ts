import { QuartetError } from '../../shared/errors.ts'
import type { SlotGrowth } from './kv-cache.ts'
import { int32, type Tensors } from './tensors.ts'

/** The rows [layers] that each of these sequences gains in a run over places. Throws `internal_error` where they differ. */
export function evenGrowth(sequences: readonly SlotGrowth[]): readonly number[] {
  const [first, ...others] = sequences
  const gained = first?.gained ?? []
  for (const other of others)
    if (other.gained !== gained && other.gained.some((rows, layer) => rows !== gained[layer]))
      throw new QuartetError(
        'internal_error',
        'sequences that gain different numbers of rows run together in pages alone',
      )
  return gained
}

/**
 * The inputs of the serving graph that say where a run's rows stand: `lengths` [layers][slots] before it, `gained` [layers] by
 * each slot.
 */
export function slotPositions(lengths: readonly (readonly number[])[], gained: readonly number[]): Tensors {
  const totals = lengths.map((ofLayer, layer) => ofLayer.map((length) => length + (gained[layer] ?? 0)))
  return {
    last_row: int32(totals.flatMap((rows) => rows.map((total) => total - 1))),
    total_rows: int32(totals.map((rows) => Math.max(...rows))),
  }
}
