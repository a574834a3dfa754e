import { QuartetError } from '../../shared/errors.ts'
import type { SlotGrowth } from './kv-cache.ts'
import type { Tensors } from './tensors.ts'

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
  const [layers, slots] = [lengths.length, lengths[0]?.length ?? 0]
  const [last, longest] = [new Int32Array(layers * slots), new Int32Array(layers)]
  for (const [layer, ofLayer] of lengths.entries())
    for (const [slot, length] of ofLayer.entries()) {
      const total = length + (gained[layer] ?? 0)
      last[layer * slots + slot] = total - 1
      longest[layer] = Math.max(longest[layer] ?? 0, total)
    }
  return {
    last_row: { type: 'int32', data: last, dims: [last.length] },
    total_rows: { type: 'int32', data: longest, dims: [layers] },
  }
}
