import type { ModelConfig } from '../../shared/backbone.ts'
import { QuartetError } from '../../shared/errors.ts'
import { hasWindows } from '../graph/model.ts'
import { scalesWithLength } from '../graph/rotary-table.ts'
import type { CacheSlot, DecodeRow } from './backend.ts'
import type { DecodeGraph } from './decode-graph.ts'
import { DecodeTensors } from './decode-tensors.ts'
import type { KvBinding, KvCache } from './kv-cache.ts'
import type { BoundTensors, FeedsAndOutputs } from './ort/bound-tensors.ts'
import { floatBytes } from './prefill-weights.ts'
import { rotaryFeeds } from './rotary-feeds.ts'
import { concatenated, growthOf, placeRows, type SequenceRun } from './sequence-run.ts'
import { InferenceSession, type SessionOptions } from './session.ts'
import { SharedWeights } from './shared-weights.ts'
import { float32, int32, int64, type Tensors } from './tensors.ts'

/** The facts that a run needs of its sequences beside their rows. */
export interface SequenceFacts {
  /** How many of a sequence's first rows in a layer stay in view behind a window. */
  readonly prefixOf: (slot: CacheSlot, layer: number) => number
  /** Rows that a sequence is to have in the end, which choose its rotary angles. */
  readonly rowsOf: (slot: CacheSlot) => number
}

/** One run of the serving graph. */
export interface GraphRun extends SequenceFacts {
  readonly sequences: readonly SequenceRun[]
  /** Inputs `prompt.…`; no outputs. */
  readonly prompt: FeedsAndOutputs
}

/** A run that decodes a token of each sequence. */
interface DecodeRun extends SequenceFacts {
  readonly batch: readonly DecodeRow[]
  /** Inputs `prompt.…` of a run without prompt rows. */
  readonly prompt: FeedsAndOutputs
}

/** The result of a run for one row: its logits [vocab], or its last hidden state [d]. */
export type RowResult = 'logits' | 'hidden'

/** The serving graph with its cache, and where the device has one the graph that decodes. */
export class Runner {
  readonly cache: KvCache
  readonly #session: InferenceSession
  /** The serving graph as it decodes: another session where prompts are read by other weights, else the same. */
  readonly #decoding: InferenceSession
  readonly #decodeGraph: DecodeGraph | undefined
  /** A run of it has failed: a class of sizes may be one that the device does not capture. */
  #isDecodeGraphOff = false
  readonly #weights: SharedWeights | undefined
  readonly #config: ModelConfig
  /** A row in each layer, which a decoded token takes. */
  readonly #oneInEach: readonly number[]
  /** Those of the last run that decoded with the serving graph. */
  #decodeTensors: DecodeTensors | undefined
  /** Grows to what the largest run needs. */
  #results = new Float32Array(0)

  private constructor({
    session,
    cache,
    config,
    decodeGraph,
    decoding,
    weights,
  }: {
    session: InferenceSession
    decoding: InferenceSession
    cache: KvCache
    config: ModelConfig
    decodeGraph: DecodeGraph | undefined
    weights: SharedWeights | undefined
  }) {
    this.#session = session
    this.#decoding = decoding
    this.cache = cache
    this.#config = config
    this.#oneInEach = Array<number>(config.layers).fill(1)
    this.#decodeGraph = decodeGraph
    this.#weights = weights
  }

  /**
   * `graph`: its file in the folder; `prefill`: what becomes of the graph that reads prompts; `cache`: makes the cache of its
   * session; `decode`: opens the graph that decodes, which has its weights in common with the other. Throws `backbone_invalid` or, when the device does not start, `node_unavailable`.
   */
  static async open(
    folder: string,
    {
      cache: openCache,
      config,
      decode,
      graph,
      prefill,
      ...options
    }: SessionOptions & {
      cache: (session: InferenceSession) => Promise<KvCache>
      decode?: ((initializers: SharedWeights['tensors']) => Promise<DecodeGraph>) | undefined
      config: ModelConfig
      graph: string
      prefill?: ((model: Uint8Array) => Uint8Array) | undefined
    },
  ): Promise<Runner> {
    const { device } = options
    await using opened = new AsyncDisposableStack()
    const keep = <T extends { release(): Promise<void> }>(part: T): T =>
      opened.adopt(part, (released) => released.release())
    const weights = decode && keep(await SharedWeights.open(folder, { device, graph }))
    const common = { ...options, ...(weights && { initializers: weights.tensors }) }
    const saving = prefill && `--prefill-weights stored (${mib(floatBytes(config))} MiB less)`
    const of = { folder, graph, saving }
    const session = keep(await InferenceSession.open({ ...of, change: prefill }, common))
    const decoding = prefill ? keep(await session.openBeside(of, common)) : session
    const cache = keep(await openCache(session))
    const decodeGraph = weights && decode && keep(await decode(weights.tensors))
    opened.move()
    return new Runner({ session, decoding, cache, config, decodeGraph, weights })
  }

  /** Binds tensors that many runs of the serving graph have in common; released with the graph at the latest. */
  bind(tensors: FeedsAndOutputs): BoundTensors {
    return this.#session.bind(tensors)
  }

  /** Decodes a token of each slot: logits [slots, vocab] in the batch's order; overwritten by the next run. */
  async decode({ batch, prompt, ...facts }: DecodeRun): Promise<Float32Array> {
    if (batch.length === 0) throw new Error('a run has a sequence')
    const graph = this.#isDecodeGraphOff ? undefined : this.#decodeGraph
    const logits = this.#resultsOf(batch.length * this.#config.vocab)
    await this.cache.append(
      batch.map(({ slot }) => ({ slot, gained: this.#oneInEach })),
      (binding) => {
        if (graph !== undefined)
          return graph
            .run({ binding, logits, tokens: batch.map(({ token }) => token) })
            .catch((cause) => this.#leaveDecodeGraph(cause))
        const { positions, slots, tensors } = binding
        const step = this.#decodeTensorsOf({ logits, rows: slots.length }).of(slots, batch)
        return this.#decoding.runInto(
          { ...positions, ...this.#lengthFeeds(binding, { ...facts, gainedBy: () => 1 }) },
          {},
          { beside: [tensors, prompt, step] },
        )
      },
    )
    return logits
  }

  /** From now on the serving graph decodes. */
  #leaveDecodeGraph(cause: unknown): never {
    this.#isDecodeGraphOff = true
    throw new QuartetError(
      'node_error',
      'a captured run failed: this process decodes without captured runs from now on; start it with --cuda-graphs off where that comes again',
      { cause },
    )
  }

  #decodeTensorsOf(sizes: { readonly logits: Float32Array; readonly rows: number }): DecodeTensors {
    if (this.#decodeTensors?.fit(sizes)) return this.#decodeTensors
    this.#releaseDecodeTensors()
    const { layers, vocab } = this.#config
    const made = new DecodeTensors(this.#decoding, { ...sizes, layers, vocab })
    this.#decodeTensors = made
    return made
  }

  #releaseDecodeTensors(): void {
    this.#decodeTensors?.[Symbol.dispose]()
    this.#decodeTensors = undefined
  }

  #resultsOf(size: number): Float32Array<ArrayBuffer> {
    if (this.#results.length < size) {
      // Their logits lie in the memory that goes.
      this.#releaseDecodeTensors()
      this.#results = new Float32Array(size)
    }
    return this.#results.subarray(0, size)
  }

  /** One result for each output row, sequence by sequence; overwritten by the next run. */
  async run({ prompt, sequences, ...facts }: GraphRun, result: RowResult = 'logits'): Promise<Float32Array> {
    const outputCount = sequences.reduce((sum, { outputRows }) => sum + outputRows.length, 0)
    const width = result === 'logits' ? this.#config.vocab : this.#config.d
    const results = this.#resultsOf(outputCount * width)
    // Logits cost far more than all else behind the last layer: where none are wanted, one row has them.
    const logitCount = result === 'logits' ? outputCount : 1
    await this.cache.append(growthOf(sequences), (binding) => {
      const order = binding.slots
      const { kept, outputRows, placed, tokens } = placeRows(order, sequences)
      return this.#session.runInto(
        {
          tokens,
          ...binding.positions,
          token_rows: concatenated(kept),
          token_counts: int64(kept.map(({ length }) => length)),
          output_rows: int64(outputRows),
          logit_rows: int64(Array.from({ length: logitCount }, (_, row) => row)),
          ...this.#lengthFeeds(binding, {
            ...facts,
            gainedBy: (row, layer) => placed[row]?.layers[layer]?.gained ?? 0,
          }),
        },
        { [result]: float32(results, [outputCount, width]) },
        { beside: [binding.tensors, prompt] },
      )
    })
    return results
  }

  /** The inputs of models whose attention sees a window, or whose rotary angles depend on a sequence's length. */
  #lengthFeeds(
    { lengths, slots }: KvBinding,
    { gainedBy, prefixOf, rowsOf }: SequenceFacts & { gainedBy: (row: number, layer: number) => number },
  ): Tensors {
    const prefixes = hasWindows(this.#config) && {
      prefix_rows: int32(
        lengths.flatMap((_, layer) => slots.map((slot) => (slot === undefined ? 0 : prefixOf(slot, layer)))),
      ),
    }
    const angles =
      scalesWithLength(this.#config) &&
      rotaryFeeds(
        this.#config,
        slots.map((slot, row) => ({
          rows: slot === undefined ? 0 : rowsOf(slot),
          start: Math.min(...lengths.map((ofLayer) => ofLayer[row] ?? 0)),
          end: Math.max(...lengths.map((ofLayer, layer) => (ofLayer[row] ?? 0) + gainedBy(row, layer))),
        })),
      )
    return { ...prefixes, ...angles }
  }

  /** Bytes of this process's memory that runs have read and written: on a device, those that crossed. */
  get hostBytes(): number {
    const decoding = this.#decoding === this.#session ? 0 : this.#decoding.hostBytes
    return this.#session.hostBytes + decoding + this.cache.hostBytes + (this.#decodeGraph?.hostBytes ?? 0)
  }

  async release(): Promise<void> {
    await this.cache.release()
    this.#releaseDecodeTensors()
    await this.#decodeGraph?.release()
    await this.#session.release()
    // Where both are one, this does nothing.
    await this.#decoding.release()
    await this.#weights?.release()
  }
}

const mib = (bytes: number): number => Math.ceil(bytes / 2 ** 20)
