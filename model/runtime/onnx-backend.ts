import type { AdapterFile } from '../../shared/adapter-file.ts'
import { checkPromptLength } from '../../shared/adapter-fit.ts'
import type { ModelConfig } from '../../shared/backbone.ts'
import { QuartetError } from '../../shared/errors.ts'
import { type AdapterLoader, PromptTensors } from './adapter-tensors.ts'
import type {
  Backend,
  BackendLimits,
  CacheSlot,
  DecodeRow,
  KeptRows,
  LoadedAdapter,
  PrefillChunk,
  StepPart,
  TokenRange,
} from './backend.ts'
import type { CacheForm } from './cache-layout.ts'
import { hasLoneQuery } from './lone-query.ts'
import { rotaryVariant } from './rotary-feeds.ts'
import { plainRows, prefixRows, type RunRows, tunedRows } from './row-places.ts'
import type { GraphRun, RowResult, Runner, SequenceFacts } from './runner.ts'
import type { SequenceRun } from './sequence-run.ts'
import { StackedAdapter } from './stacked-adapter.ts'
import { stepCallsOf } from './step-calls.ts'

/** The inputs that the graph needs for a sequence in every run. */
interface SequenceRows {
  /** Cache rows that it may have in the end. */
  readonly rows: number
  /** Those and the room for padding. */
  readonly room: number
  /** How many of its first rows in a layer stay in view behind a window. */
  readonly prefix: (layer: number) => number
}

/** One sequence's tokens in a run, and the rows that they, the padding and an adapter's become. */
interface PlannedRun {
  readonly slot: CacheSlot
  readonly tokens: readonly number[]
  /** Tokens behind them that are taken back, so that no query of theirs is alone. */
  readonly padding: number
  readonly rows: RunRows & Pick<GraphRun, 'prompt'>
}

/** A backbone on ONNX Runtime. */
export class OnnxBackend implements Backend {
  readonly backbone: Backend['backbone']
  readonly limits: BackendLimits
  readonly #config: ModelConfig
  readonly #form: CacheForm
  readonly #runner: Runner
  readonly #adapters: AdapterLoader
  /** The inputs of a run without prompt rows, which are the same in all such runs. */
  readonly #noPrompt: GraphRun['prompt']
  readonly #sequences = new WeakMap<CacheSlot, SequenceRows>()
  readonly #kept = new WeakMap<KeptRows, SequenceRows['prefix']>()

  constructor(
    parts: Pick<Backend, 'backbone' | 'limits'> & {
      config: ModelConfig
      form: CacheForm
      runner: Runner
      adapters: AdapterLoader
    },
  ) {
    this.backbone = parts.backbone
    this.limits = parts.limits
    this.#config = parts.config
    this.#form = parts.form
    this.#runner = parts.runner
    this.#adapters = parts.adapters
    this.#noPrompt = parts.runner.bind({ feeds: parts.adapters.absent, outputs: {} })
  }

  loadAdapter(file: AdapterFile): LoadedAdapter {
    return this.#adapters.load(file)
  }

  stack(parts: readonly LoadedAdapter[]): LoadedAdapter {
    return new StackedAdapter(parts.map(ownAdapter))
  }

  allocate(rows: number, padding = 0): CacheSlot | undefined {
    const room = rows + padding
    const slot = this.#runner.cache.allocate(room)
    if (slot !== undefined) this.#sequences.set(slot, { rows, room, prefix: () => 0 })
    return slot
  }

  get takenRows(): number {
    return this.#runner.cache.takenRows
  }

  bytesToKeep(slot: CacheSlot, range: TokenRange): number {
    return this.#runner.cache.bytesToKeep(slot, range)
  }

  async keepRows(slot: CacheSlot, range: TokenRange): Promise<KeptRows> {
    const kept = await this.#runner.cache.keep(slot, range)
    const sequence = this.#sequences.get(slot)
    if (sequence !== undefined) this.#kept.set(kept, sequence.prefix)
    return kept
  }

  async putRows(slot: CacheSlot, kept: readonly KeptRows[]): Promise<void> {
    await this.#runner.cache.put(slot, kept)
    const [first] = kept
    const prefix = first && this.#kept.get(first)
    const sequence = this.#sequences.get(slot)
    if (prefix !== undefined && sequence !== undefined) this.#sequences.set(slot, { ...sequence, prefix })
  }

  variantOf(slot: CacheSlot): number {
    return rotaryVariant(this.#config, this.#sequences.get(slot)?.rows ?? 0)
  }

  prefill(chunk: PrefillChunk): Promise<Float32Array> {
    return this.score(chunk, [chunk.tokens.length - 1])
  }

  async score(chunk: PrefillChunk, positions: readonly number[]): Promise<Float32Array> {
    const { adapter } = chunk
    if (adapter instanceof StackedAdapter) return this.#scoreStacked({ ...chunk, adapter }, positions)
    return this.#run(this.#planned(chunk), positions)
  }

  async hidden(chunk: PrefillChunk): Promise<Float32Array> {
    if (chunk.adapter instanceof StackedAdapter)
      throw new QuartetError('internal_error', 'stacked adapters have results of the tail alone')
    return this.#run(this.#planned(chunk), [...chunk.tokens.keys()], 'hidden')
  }

  async #run(
    { padding, rows: { layers, prompt, tokenPlaces }, slot, tokens }: PlannedRun,
    positions: readonly number[],
    result?: RowResult,
  ): Promise<Float32Array> {
    // Any token will do: those in front do not see it.
    const padded = [...tokens, ...Array<number>(padding).fill(tokens.at(-1) ?? 0)]
    const outputRows = positions.map((position) => tokenPlaces[position] ?? position)
    const results = await this.#runner.run(
      { ...this.#facts, sequences: [{ slot, tokens: padded, layers, outputRows }], prompt },
      result,
    )
    slot.rewind(padding)
    return results
  }

  callsOf<P extends StepPart>(parts: readonly P[]): readonly (readonly P[])[] {
    return stepCallsOf(this.#form)(parts)
  }

  run(parts: readonly StepPart[]): Promise<Float32Array> {
    const [first, ...others] = parts
    if (first?.kind === 'chunk')
      return others.length === 0 ? this.prefill(first) : this.#runTogether(first, others)
    return this.decode(parts.filter((part) => part.kind === 'decode'))
  }

  /** Chunks and decoded tokens as one run, in pages. Only the first of them may make prompt rows. */
  #runTogether(first: PrefillChunk, others: readonly StepPart[]): Promise<Float32Array> {
    const lists = others.map((part) => (part.kind === 'decode' ? [part.token] : part.tokens))
    const behind = lists.reduce((sum, { length }) => sum + length, 0)
    const { prompt, ...rows } = this.#rowsOf(first, { padding: 0, others: behind })
    const single = plainRows(this.#config.layers, 1)
    return this.#runner.run({
      ...this.#facts,
      sequences: [
        sequenceRun(first.slot, first.tokens, rows),
        ...others.map((part, at) => {
          const tokens = lists[at] ?? []
          return sequenceRun(part.slot, tokens, tokens.length === 1 ? single : this.#plainRows(tokens.length))
        }),
      ],
      prompt,
    })
  }

  /**
   * Makes the rows of the last part first, behind as many tokens that stand for the rows in front of them, takes them
   * out and goes back; then runs what stands in front of the rows once more, with the first part's, puts the others'
   * back and runs the tail. A part's rows read few tokens: its window.
   */
  async #scoreStacked(
    { adapter, slot, tail = adapter.tail, tokens }: PrefillChunk & { adapter: StackedAdapter },
    positions: readonly number[],
  ): Promise<Float32Array> {
    checkLatePlace(slot, { tokens: tokens.length, tail, window: adapter.window })
    const front = tokens.slice(0, tokens.length - tail)
    if (positions.some((position) => position < front.length))
      throw new QuartetError('internal_error', 'stacked adapters have logits of the tail alone')
    const alone = tokensAlone(front.length, adapter.window)
    if (alone > 0) await this.#run(this.#planned({ slot, tokens: front.slice(0, alone) }), [alone - 1])
    const read = front.slice(alone)
    using keeping = new DisposableStack()
    const behind: KeptRows[] = []
    let hasNumbers = true
    for (const { part, rowsInFront } of [...adapter.places()].toReversed()) {
      // Any token will do: none that counts sees it.
      const shown = [...read, ...Array<number>(rowsInFront).fill(read.at(-1) ?? 0)]
      const places = part.placesIn(shown.length, { begins: false, tail: 0 })
      this.#sequences.set(slot, { ...this.#sequenceOf(slot), prefix: prefixRows(part.metadata) })
      const rows = {
        ...tunedRows(part.metadata, places),
        prompt: {
          feeds: this.#adapters.feeds(part, { tokens: shown, places, front: read.length }),
          outputs: {},
        },
      }
      const logits = await this.#run({ slot, tokens: shown, padding: 0, rows }, [shown.length - 1])
      hasNumbers &&= !Number.isNaN(logits[0])
      if (rowsInFront === 0) break
      const end = slot.length
      const range = { start: end - part.rows, end, tokens: end, tail: 0 }
      const kept = await this.#runner.cache.keep(slot, range)
      behind.unshift(keeping.adopt(kept, (rows) => rows.release()))
      slot.rewind(shown.length + part.rows)
    }
    await this.#runner.cache.put(slot, behind)
    keeping.dispose()
    const results = await this.#run(
      this.#planned({ slot, tokens: tokens.slice(front.length) }),
      positions.map((position) => position - front.length),
    )
    // The tail's own run may give numbers: a cache of whole numbers has no NaN.
    return hasNumbers ? results : results.fill(Number.NaN)
  }

  #plainRows(tokens: number): PlannedRun['rows'] {
    return {
      ...plainRows(this.#config.layers, tokens),
      prompt: this.#noPrompt,
    }
  }

  #sequenceOf(slot: CacheSlot): SequenceRows {
    return this.#sequences.get(slot) ?? { rows: 0, room: 0, prefix: () => 0 }
  }

  #planned(chunk: PrefillChunk): PlannedRun {
    const { slot, tokens } = chunk
    const sequence = this.#sequenceOf(slot)
    const promptRows = chunk.adapter?.rows ?? 0
    const wanted = paddingOf({ tokens: tokens.length, promptRows })
    const padding = slot.length + promptRows + tokens.length + wanted <= sequence.room ? wanted : 0
    return { slot, tokens, padding, rows: this.#rowsOf(chunk, { padding }) }
  }

  #rowsOf(
    { slot, tail, tokens, adapter: loaded }: PrefillChunk,
    { others, padding }: { padding: number; others?: number },
  ): PlannedRun['rows'] {
    const count = tokens.length + padding
    if (loaded === undefined) return this.#plainRows(count)
    const adapter = ownAdapter(loaded)
    const { window } = adapter
    const behind = adapter.tail === undefined ? undefined : (tail ?? adapter.tail)
    const places = adapter.placesIn(count, {
      begins: slot.length === 0,
      tail: behind === undefined ? undefined : behind + padding,
    })
    if (behind !== undefined) checkLatePlace(slot, { tokens: tokens.length, tail: behind, window })
    this.#sequences.set(slot, { ...this.#sequenceOf(slot), prefix: prefixRows(adapter.metadata) })
    return {
      ...tunedRows(adapter.metadata, places),
      prompt: {
        feeds: this.#adapters.feeds(adapter, { tokens, places, ...(others && { others }) }),
        outputs: {},
      },
    }
  }

  decode(batch: readonly DecodeRow[]): Promise<Float32Array> {
    return this.#runner.decode({ ...this.#facts, batch, prompt: this.#noPrompt })
  }

  readonly #facts: SequenceFacts = {
    prefixOf: (slot, layer) => this.#sequences.get(slot)?.prefix(layer) ?? 0,
    rowsOf: (slot) => this.#sequences.get(slot)?.rows ?? 0,
  }

  /** Bytes of this process's memory that runs have read and written: on a device, those that crossed. */
  get hostBytes(): number {
    return this.#runner.hostBytes
  }

  close(): Promise<void> {
    return this.#runner.release()
  }
}

/** A sequence of which the result behind its last token is wanted. */
function sequenceRun(
  slot: CacheSlot,
  tokens: readonly number[],
  { layers, tokenPlaces }: RunRows,
): SequenceRun {
  return { slot, tokens, layers, outputRows: tokenPlaces.slice(-1) }
}

/** The fewest tokens behind a run's own that leave it no lone query. Rows that carry on through the layers are queries as tokens are. */
function paddingOf({ promptRows, tokens }: { tokens: number; promptRows: number }): number {
  let padding = 0
  while (hasLoneQuery(tokens + padding) || hasLoneQuery(tokens + padding + promptRows)) padding++
  return padding
}

/** How many tokens in front of late rows run without them: most that leave the window, and no lone query in either run. */
function tokensAlone(front: number, window: number): number {
  for (let count = front - Math.max(2, window); count > 1; count--)
    if (!hasLoneQuery(count) && !hasLoneQuery(front - count)) return count
  return 0
}

/** Throws `invalid_request` where nothing stands in front of late rows, `internal_error` for a cut through the window. */
function checkLatePlace(
  { length }: CacheSlot,
  { tokens, tail, window }: { readonly tokens: number; readonly tail: number; readonly window: number },
): void {
  checkPromptLength({ tokens: length + tokens, tail })
  if (length > 0 && tokens < window + tail)
    throw new QuartetError(
      'internal_error',
      `the chunk with late rows has ${tokens} tokens; they depend on ${window} in front of the last ${tail}`,
    )
}

function ownAdapter(adapter: LoadedAdapter): PromptTensors {
  if (adapter instanceof PromptTensors) return adapter
  throw new QuartetError('internal_error', 'this adapter was loaded by another backend')
}
