import type { ModelConfig } from '../../shared/backbone.ts'
import { hasWindows } from '../graph/model.ts'
import { scalesWithLength } from '../graph/rotary-table.ts'
import type { CacheSlot } from './backend.ts'
import type { KvCache } from './kv-cache.ts'
import { rotaryFeeds } from './rotary-feeds.ts'
import { range } from './row-places.ts'
import { InferenceSession, type SessionOptions } from './session.ts'
import { float32, int32, int64, type Tensor, type Tensors } from './tensors.ts'

/** The rows of one layer in a run. */
export interface LayerRows {
  /** Rows that each slot gains in the layer's cache. */
  readonly gained: number
  /** The gained rows that stay in the residual stream. The others are prompt rows, which are made anew. */
  readonly kept: readonly number[]
}

/** One run of the serving graph. */
export interface GraphRun {
  readonly slots: readonly CacheSlot[]
  /** One for each layer. */
  readonly layers: readonly LayerRows[]
  readonly tokensOf: (slot: CacheSlot) => readonly number[]
  /** The last layer's rows in the residual stream whose result is wanted, by the order in which the batch holds the slots. */
  readonly outputRows: (order: readonly (CacheSlot | undefined)[]) => readonly number[]
  /** How many those are. */
  readonly outputCount: number
  /** How many of a sequence's first rows in a layer stay in view behind a window. */
  readonly prefixOf: (slot: CacheSlot, layer: number) => number
  /** Rows that a sequence is to have in the end, which choose its rotary angles. */
  readonly rowsOf: (slot: CacheSlot) => number
  /** Inputs `prompt.…`. */
  readonly prompt: Tensors
}

/** The result of a run for one row: its logits [vocab], or its last hidden state [d]. */
export type RowResult = 'logits' | 'hidden'

/** The serving graph with its cache. */
export class Runner {
  readonly cache: KvCache
  readonly #session: InferenceSession
  readonly #config: ModelConfig
  /** Grows to what the largest run needs. */
  #results = new Float32Array(0)

  private constructor({
    session,
    cache,
    config,
  }: { session: InferenceSession; cache: KvCache; config: ModelConfig }) {
    this.#session = session
    this.cache = cache
    this.#config = config
  }

  /** `graph`: its file in the folder; `cache`: makes the cache of its session. Throws `backbone_invalid` or, when the device does not start, `node_unavailable`. */
  static async open(
    folder: string,
    {
      cache,
      config,
      graph,
      ...options
    }: SessionOptions & {
      cache: (session: InferenceSession) => Promise<KvCache>
      config: ModelConfig
      graph: string
    },
  ): Promise<Runner> {
    const session = await InferenceSession.open({ folder, graph }, options)
    try {
      return new Runner({ session, cache: await cache(session), config })
    } catch (error) {
      await session.release()
      throw error
    }
  }

  /** One result for each output row, one behind the other; overwritten by the next run. */
  async run(
    { slots, layers, tokensOf, outputRows, outputCount, prefixOf, rowsOf, prompt }: GraphRun,
    result: RowResult = 'logits',
  ): Promise<Float32Array> {
    const width = result === 'logits' ? this.#config.vocab : this.#config.d
    const size = outputCount * width
    if (this.#results.length < size) this.#results = new Float32Array(size)
    const results = this.#results.subarray(0, size)
    // Logits cost far more than all else behind the last layer: where none are wanted, one row has them.
    const logitCount = result === 'logits' ? outputCount : 1
    const gained = layers.map((layer) => layer.gained)
    await this.cache.append({ slots, gained }, (binding) => {
      const order = binding.slots
      const each = (slots[0] === undefined ? [] : tokensOf(slots[0])).length
      const tokens = order.flatMap((slot) =>
        slot === undefined ? Array<number>(each).fill(0) : tokensOf(slot),
      )
      const totals = binding.lengths.map((lengths, layer) =>
        lengths.map((length) => length + (gained[layer] ?? 0)),
      )
      // Rows that are none of the slots' go along to the last layer, as each layer's attention takes the whole batch.
      const whole = range(0, tokens.length)
      const kept = layers.map((layer) => (order.length === slots.length ? layer.kept : whole))
      return this.#session.runInto(
        {
          ...prompt,
          ...binding.feeds,
          tokens: int64(tokens, [order.length, each]),
          ...binding.positions,
          token_rows: concatenated(kept),
          token_counts: int64(kept.map(({ length }) => length)),
          output_rows: int64(outputRows(order)),
          logit_rows: int64(Array.from({ length: logitCount }, (_, row) => row)),
          ...(hasWindows(this.#config)
            ? {
                prefix_rows: int32(
                  layers.flatMap((_, layer) =>
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
                  end: Math.max(...totals.map((rows) => rows[index] ?? 0)),
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
    return this.#session.hostBytes + this.cache.hostBytes
  }

  async release(): Promise<void> {
    await this.cache.release()
    await this.#session.release()
  }
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
