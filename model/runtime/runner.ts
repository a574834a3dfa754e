import type { ModelConfig } from '../../shared/backbone.ts'
import { hasWindows } from '../graph/model.ts'
import { scalesWithLength } from '../graph/rotary-table.ts'
import type { CacheSlot, DecodeRow } from './backend.ts'
import type { DecodeGraph } from './decode-graph.ts'
import type { KvCache, SlotGrowth } from './kv-cache.ts'
import { rotaryFeeds } from './rotary-feeds.ts'
import { range } from './row-places.ts'
import { InferenceSession, type SessionOptions } from './session.ts'
import { SharedWeights } from './shared-weights.ts'
import { float32, int32, int64, type Tensor, type Tensors } from './tensors.ts'

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

/** One run of the serving graph. */
export interface GraphRun {
  readonly sequences: readonly SequenceRun[]
  /** How many of a sequence's first rows in a layer stay in view behind a window. */
  readonly prefixOf: (slot: CacheSlot, layer: number) => number
  /** Rows that a sequence is to have in the end, which choose its rotary angles. */
  readonly rowsOf: (slot: CacheSlot) => number
  /** Inputs `prompt.…`. */
  readonly prompt: Tensors
}

/** The result of a run for one row: its logits [vocab], or its last hidden state [d]. */
export type RowResult = 'logits' | 'hidden'

/** The serving graph with its cache, and where the device has one the graph that decodes. */
export class Runner {
  readonly cache: KvCache
  readonly #session: InferenceSession
  readonly #decodeGraph: DecodeGraph | undefined
  readonly #weights: SharedWeights | undefined
  readonly #config: ModelConfig
  /** Grows to what the largest run needs. */
  #results = new Float32Array(0)

  private constructor({
    session,
    cache,
    config,
    decodeGraph,
    weights,
  }: {
    session: InferenceSession
    cache: KvCache
    config: ModelConfig
    decodeGraph: DecodeGraph | undefined
    weights: SharedWeights | undefined
  }) {
    this.#session = session
    this.cache = cache
    this.#config = config
    this.#decodeGraph = decodeGraph
    this.#weights = weights
  }

  /**
   * `graph`: its file in the folder; `cache`: makes the cache of its session; `decode`: opens the graph that decodes, which
   * has its weights in common with the other. Throws `backbone_invalid` or, when the device does not start, `node_unavailable`.
   */
  static async open(
    folder: string,
    {
      cache: openCache,
      config,
      decode,
      graph,
      ...options
    }: SessionOptions & {
      cache: (session: InferenceSession) => Promise<KvCache>
      decode?: ((initializers: SharedWeights['tensors']) => Promise<DecodeGraph>) | undefined
      config: ModelConfig
      graph: string
    },
  ): Promise<Runner> {
    const { device } = options
    await using opened = new AsyncDisposableStack()
    const keep = <T extends { release(): Promise<void> }>(part: T): T =>
      opened.adopt(part, (released) => released.release())
    const weights = decode && keep(await SharedWeights.open(folder, { device, graph }))
    const session = keep(
      await InferenceSession.open(
        { folder, graph },
        { ...options, ...(weights && { initializers: weights.tensors }) },
      ),
    )
    const cache = keep(await openCache(session))
    const decodeGraph = weights && decode && keep(await decode(weights.tensors))
    opened.move()
    return new Runner({ session, cache, config, decodeGraph, weights })
  }

  /** A token of each slot with the graph that decodes, if there is one: logits [slots, vocab] in this order, as `run`'s. */
  async decode(batch: readonly DecodeRow[]): Promise<Float32Array | undefined> {
    const graph = this.#decodeGraph
    if (graph === undefined) return undefined
    const logits = this.#resultsOf(batch.length * this.#config.vocab)
    const gained = Array<number>(this.#config.layers).fill(1)
    const tokens = batch.map(({ token }) => token)
    await this.cache.append(
      batch.map(({ slot }) => ({ slot, gained })),
      (binding) => graph.run({ binding, logits, tokens }),
    )
    return logits
  }

  #resultsOf(size: number): Float32Array<ArrayBuffer> {
    if (this.#results.length < size) this.#results = new Float32Array(size)
    return this.#results.subarray(0, size)
  }

  /** One result for each output row, sequence by sequence; overwritten by the next run. */
  async run(
    { prefixOf, prompt, rowsOf, sequences }: GraphRun,
    result: RowResult = 'logits',
  ): Promise<Float32Array> {
    const outputCount = sequences.reduce((sum, { outputRows }) => sum + outputRows.length, 0)
    const width = result === 'logits' ? this.#config.vocab : this.#config.d
    const results = this.#resultsOf(outputCount * width)
    // Logits cost far more than all else behind the last layer: where none are wanted, one row has them.
    const logitCount = result === 'logits' ? outputCount : 1
    await this.cache.append(growthOf(sequences), (binding) => {
      const order = binding.slots
      const { kept, outputRows, placed, tokens } = placeRows(order, sequences)
      const layers = range(0, this.#config.layers)
      return this.#session.runInto(
        {
          ...prompt,
          ...binding.feeds,
          tokens,
          ...binding.positions,
          token_rows: concatenated(kept),
          token_counts: int64(kept.map(({ length }) => length)),
          output_rows: int64(outputRows),
          logit_rows: int64(Array.from({ length: logitCount }, (_, row) => row)),
          ...(hasWindows(this.#config)
            ? {
                prefix_rows: int32(
                  layers.flatMap((layer) =>
                    order.map((slot) => (slot === undefined ? 0 : prefixOf(slot, layer))),
                  ),
                ),
              }
            : {}),
          ...(scalesWithLength(this.#config)
            ? rotaryFeeds(
                this.#config,
                order.map((slot, index) => ({
                  rows: slot === undefined ? 0 : rowsOf(slot),
                  start: Math.min(...binding.lengths.map((lengths) => lengths[index] ?? 0)),
                  end: Math.max(
                    ...binding.lengths.map(
                      (lengths, layer) => (lengths[index] ?? 0) + (placed[index]?.layers[layer]?.gained ?? 0),
                    ),
                  ),
                })),
              )
            : {}),
        },
        { ...binding.outputs, [result]: float32(results, [outputCount, width]) },
      )
    })
    return results
  }

  /** Bytes of this process's memory that runs have read and written: on a device, those that crossed. */
  get hostBytes(): number {
    return this.#session.hostBytes + this.cache.hostBytes + (this.#decodeGraph?.hostBytes ?? 0)
  }

  async release(): Promise<void> {
    await this.cache.release()
    await this.#decodeGraph?.release()
    await this.#session.release()
    await this.#weights?.release()
  }
}

/** Sequences whose layers are one list gain by one list. */
function growthOf(sequences: readonly SequenceRun[]): readonly SlotGrowth[] {
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
function placeRows(
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
function concatenated(lists: readonly (readonly number[])[]): Tensor {
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
