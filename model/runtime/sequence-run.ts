import type { CacheSlot } from './backend.ts'
import type { SlotGrowth } from './kv-cache.ts'
import { int64, type Tensor } from './tensors.ts'

/** The rows of one layer in a run. */
export interface LayerRows {
  /** Rows that each slot gains in the layer's cache. */
  readonly gained: number
  /** The gained rows that stay in the residual stream. The others are prompt rows, which are made anew. */
  readonly kept: readonly number[]
}

/** One sequence of a run. */
export interface SequenceRun {
  readonly slot: CacheSlot
  readonly tokens: readonly number[]
  /** One for each layer; rows are counted among the sequence's own. */
  readonly layers: readonly LayerRows[]
  /** The sequence's rows of the last layer's residual stream whose result is wanted. */
  readonly outputRows: readonly number[]
}

/** Sequences whose layers are one list gain by one list. */
export function growthOf(sequences: readonly SequenceRun[]): readonly SlotGrowth[] {
  const known = new Map<readonly LayerRows[], readonly number[]>()
  return sequences.map(({ layers, slot }) => {
    const gained = known.get(layers) ?? layers.map((layer) => layer.gained)
    known.set(layers, gained)
    return { slot, gained }
  })
}

/**
 * The rows of a run's sequences, one behind the other in the batch's order, in which a place that is none of theirs runs
 * along as the first of them does.
 */
export function placeRows(
  order: readonly (CacheSlot | undefined)[],
  sequences: readonly SequenceRun[],
): {
  readonly placed: readonly SequenceRun[]
  readonly tokens: Tensor
  /** [layers], and of each the rows that stay in the residual stream. */
  readonly kept: readonly (readonly number[])[]
  /** In the order of `sequences`. */
  readonly outputRows: readonly number[]
} {
  const [first] = sequences
  if (first === undefined) throw new Error('a run has a sequence')
  const other = { ...first, tokens: first.tokens.map(() => 0) }
  const bySlot = new Map(sequences.map((sequence) => [sequence.slot, sequence]))
  const placed = order.map((slot) => (slot && bySlot.get(slot)) ?? other)
  const kept: (readonly number[])[] = []
  for (const layer of first.layers.keys()) {
    const last = kept.at(-1)
    // Most runs are the same in every layer.
    if (last !== undefined && placed.every(({ layers }) => layers[layer] === layers[layer - 1]))
      kept.push(last)
    else kept.push(keptRows(placed.flatMap(({ layers }) => layers[layer] ?? [])))
  }
  const streams = new Map<SequenceRun, number>()
  let rows = 0
  for (const sequence of placed) {
    streams.set(sequence, rows)
    rows += sequence.layers.at(-1)?.kept.length ?? 0
  }
  const each = first.tokens.length
  const isEven = placed.every(({ tokens }) => tokens.length === each)
  const tokens = placed.flatMap((sequence) => sequence.tokens)
  return {
    placed,
    tokens: int64(tokens, isEven ? [placed.length, each] : [1, tokens.length]),
    kept,
    outputRows: sequences.flatMap((sequence) =>
      sequence.outputRows.map((row) => (streams.get(sequence) ?? 0) + row),
    ),
  }
}

/** The kept rows of some sequences, one behind the other, among all rows that they gain. */
function keptRows(sequences: readonly LayerRows[]): readonly number[] {
  let start = 0
  return sequences.flatMap(({ gained, kept }) => {
    const before = start
    start += gained
    return before === 0 ? kept : kept.map((row) => before + row)
  })
}

/** int32, one list behind the other; lists that are the same object are converted once. */
export function concatenated(lists: readonly (readonly number[])[]): Tensor {
  const values = new Int32Array(lists.reduce((sum, { length }) => sum + length, 0))
  const places = new Map<readonly number[], number>()
  let at = 0
  for (const list of lists) {
    const known = places.get(list)
    if (known === undefined) values.set(list, at)
    else values.copyWithin(at, known, known + list.length)
    places.set(list, at)
    at += list.length
  }
  return { type: 'int32', data: values, dims: [values.length] }
}
