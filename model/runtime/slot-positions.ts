import { int32, type Tensors } from './tensors.ts'

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
