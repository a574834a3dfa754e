import type { Backend } from '../../model/runtime/backend.ts'
import { isDeviceLoss } from '../../model/runtime/device-loss.ts'
import type { Turns } from '../../model/runtime/turns.ts'
import { QuartetError } from '../../shared/errors.ts'
import type { Endings } from './endings.ts'
import type { PrefixCache } from './prefix-cache.ts'
import { type EngineObserver, reportOf, type StepTime } from './reports.ts'
import type { Scheduler, Step } from './scheduler.ts'
import type { Sequence } from './sequence.ts'
import type { StepBudget } from './step-budget.ts'
import type { StepPace } from './step-pace.ts'
import { type EnginePart, forcedTokens, type PromptPart, partsOf, type ReadingPart } from './step-parts.ts'

/** How long the engine sleeps at most while all it has waits for grammars: long enough to idle, short enough for a deadline. */
const grammarPatienceMs = 50

/** Steps in a row that may fail before the engine calls itself failing. */
const toleratedFailures = 3

/** A sequence whose next token is to be chosen, and the logits it is chosen from: [vocab], valid until the next run. */
export interface DueToken {
  readonly sequence: Sequence
  readonly logits: Float32Array
}

export interface StepRunnerOptions {
  readonly backend: Backend
  readonly scheduler: Pick<Scheduler, 'held' | 'promote' | 'queue'>
  readonly prefixes: Pick<PrefixCache, 'keep'>
  readonly endings: Endings
  readonly budget: Pick<StepBudget, 'ran'>
  readonly pace: Pick<StepPace, 'record'>
  readonly turns: Turns
  readonly observer: EngineObserver
  /** Monotonic milliseconds. */
  readonly now: () => number
}

/** The results of a call: a row for each of its parts, or all that a prompt's reading asked for. */
interface Computed {
  readonly results: Float32Array
  readonly ms: number
}

/** The model could not run. Its sequences are told so without the cause. */
class RunFailure extends QuartetError {
  constructor(cause: unknown) {
    super('node_error', 'the node failed while running the model; retry', { cause })
  }

  get isDeviceLoss(): boolean {
    return isDeviceLoss(this.cause)
  }
}

/** Runs the model for the steps that the scheduler decides, and ends the sequences whose run fails. */
export class StepRunner {
  readonly #options: StepRunnerOptions
  #failuresInARow = 0
  /** A call of the step under way has failed. */
  #hasFailed = false

  constructor(options: StepRunnerOptions) {
    this.#options = options
  }

  /** The backend has failed several times in a row and not worked since. */
  get isFailing(): boolean {
    return this.#failuresInARow >= toleratedFailures
  }

  /** Runs a step in as few calls as the backend can, and yields each sequence whose next token is due. */
  async *run(step: Step): AsyncGenerator<DueToken, void> {
    const time: StepTime = { prefillMs: 0, decodeMs: 0 }
    this.#hasFailed = false
    for (const { cause, sequence } of step.unrestored) this.#end([{ sequence }], this.#failure(cause))
    const { reading, parts } = partsOf(step)
    for (const part of reading) yield* this.#read(part, time)
    for (const call of this.#options.backend.callsOf(parts)) yield* this.#call(call, time)
    const { chunks, decode, jumps, unrestored } = step
    if ([chunks, decode, jumps, unrestored].every(({ length }) => length === 0)) await this.#waitForGrammars()
    const report = reportOf(step, time)
    const { observer, pace } = this.#options
    pace.record({
      prefillRows: report.prefillRows,
      seconds: report.prefillSeconds + report.decodeSeconds,
    })
    observer.stepped(report)
  }

  /**
   * Runs parts as one call. Where that fails, each half runs in a call of its own, so that a sequence ends only where a call
   * for it alone fails, or where the device is lost.
   */
  async *#call(parts: readonly EnginePart[], time: StepTime): AsyncGenerator<DueToken, void> {
    const computed = await this.#compute(() => this.#options.backend.run(parts))
    if (!(computed instanceof RunFailure)) yield* this.#ran(parts, { computed, time })
    else if (parts.length === 1 || computed.isDeviceLoss) this.#end(parts, computed)
    else for (const half of halvesOf(parts)) yield* this.#call(half, time)
  }

  /** Records the time of a call and how far its prompts are, and yields its sequences whose next token is due. */
  async *#ran(
    parts: readonly EnginePart[],
    { computed: { ms, results }, time }: { computed: Computed; time: StepTime },
  ): AsyncGenerator<DueToken, void> {
    const { backend, budget } = this.#options
    const prefillMs = budget.ran({
      ms,
      chunks: parts.flatMap(({ prompt }) => prompt ?? []),
      forced: parts.reduce((sum, part) => sum + forcedTokens(part), 0),
      decoded: parts.filter(({ kind }) => kind === 'decode').length,
    })
    time.prefillMs += prefillMs
    time.decodeMs += ms - prefillMs
    const { vocab } = backend.limits
    for (const [row, part] of parts.entries()) {
      const logits = results.subarray(row * vocab, (row + 1) * vocab)
      if (part.prompt !== undefined) part.sequence.advance(part.slot, part.prompt.end)
      if (part.kind === 'chunk' && part.adapter !== undefined) part.sequence.checkRows(logits)
      if (part.prompt === undefined || (await this.#endsPrompt(part)))
        yield { sequence: part.sequence, logits }
    }
  }

  /** Runs a chunk of whose tokens the request wants to be told. */
  async *#read(part: ReadingPart, time: StepTime): AsyncGenerator<DueToken, void> {
    const { backend, budget, now } = this.#options
    const { prompt, reading, sequence, slot } = part
    const start = now()
    const computed = await this.#compute(() => reading.run(backend, part))
    if (computed instanceof RunFailure) {
      this.#end([part], computed)
      return
    }
    const { results } = computed
    // The run is paid for, also where its results are of no use.
    sequence.advance(slot, prompt.end)
    if (!(await this.#record(part, results))) return
    time.prefillMs += budget.ran({ ms: now() - start, chunks: [prompt], forced: 0, decoded: 0 })
    if (await this.#endsPrompt(part)) yield { sequence, logits: results.subarray(-backend.limits.vocab) }
  }

  /** Whether the chunk was its prompt's last, and the next token is wanted. */
  async #endsPrompt({ prompt, sequence, slot }: PromptPart): Promise<boolean> {
    const { endings, observer, prefixes, scheduler } = this.#options
    if (prompt.end < sequence.prompt.length) return false
    if (sequence.hasRowsWithoutNumbers) {
      endings.failRows(sequence)
      return false
    }
    // The request does not need what is kept for later ones.
    await prefixes.keep(sequence, slot).catch((error) => observer.failed(error))
    scheduler.promote(sequence)
    if (sequence.engineRequest.request.maxTokens > 0) return true
    this.#endPrompt(sequence)
    return false
  }

  /** The request wants nothing but its prompt read. */
  #endPrompt(sequence: Sequence): void {
    const { endings } = this.#options
    try {
      sequence.sendPromptReading()
      endings.end(sequence, { type: 'done', reason: 'length' })
    } catch (error) {
      endings.failComputed(sequence, error)
    }
  }

  /** Records what the request wants to be told of a chunk's tokens; false when that ended the sequence. */
  async #record(
    { prompt: { end }, reading, sequence, tokens }: ReadingPart,
    results: Float32Array,
  ): Promise<boolean> {
    const { endings, turns } = this.#options
    try {
      await reading.add({
        results,
        next: sequence.prompt.slice(end - tokens.length + 1, end + 1),
        tokens: tokens.length,
        turn: (numbers) => turns.before(numbers),
      })
      return true
    } catch (error) {
      endings.failComputed(sequence, error)
      return false
    }
  }

  async #compute(call: () => Promise<Float32Array>): Promise<Computed | RunFailure> {
    const { now } = this.#options
    const start = now()
    try {
      const results = await call()
      this.#failuresInARow = 0
      return { results, ms: now() - start }
    } catch (cause) {
      return this.#failure(cause)
    }
  }

  #failure(cause: unknown): RunFailure {
    if (!this.#hasFailed) this.#failuresInARow++
    this.#hasFailed = true
    this.#options.observer.failed(cause)
    return new RunFailure(cause)
  }

  #end(parts: readonly Pick<EnginePart, 'sequence'>[], failure: RunFailure): void {
    for (const { sequence } of parts) this.#options.endings.fail(sequence, failure)
  }

  /** Nothing can run: all sequences wait for their grammars, or the queue's first finds no room. */
  async #waitForGrammars(): Promise<void> {
    const { endings, scheduler } = this.#options
    const held = scheduler.held.flatMap(({ engineRequest }) => engineRequest.grammar ?? [])
    if (held.length > 0) {
      await Promise.race(held.map((grammar) => grammar.settled(grammarPatienceMs)))
      return
    }
    // The backend's limits promised room that it does not give.
    const first = scheduler.queue.peek()
    if (first !== undefined)
      endings.fail(
        first,
        new QuartetError('node_error', 'the node found no cache room for the request; retry elsewhere'),
      )
  }
}

function halvesOf<P>(parts: readonly P[]): readonly (readonly P[])[] {
  const half = Math.ceil(parts.length / 2)
  return [parts.slice(0, half), parts.slice(half)]
}
