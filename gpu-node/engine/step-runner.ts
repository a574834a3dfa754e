import type { Backend } from '../../model/runtime/backend.ts'
import type { Turns } from '../../model/runtime/turns.ts'
import { QuartetError } from '../../shared/errors.ts'
import type { Chunk } from './chunk.ts'
import type { Endings } from './endings.ts'
import type { PrefixCache } from './prefix-cache.ts'
import { type EngineObserver, reportOf, type StepTime } from './reports.ts'
import type { Jump, Scheduler, Step } from './scheduler.ts'
import type { Sequence } from './sequence.ts'
import type { StepBudget } from './step-budget.ts'
import type { StepPace } from './step-pace.ts'

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
  readonly budget: Pick<StepBudget, 'decoded' | 'prefilled'>
  readonly pace: Pick<StepPace, 'record'>
  readonly turns: Turns
  readonly observer: EngineObserver
  /** Monotonic milliseconds. */
  readonly now: () => number
}

/** Runs the model for the steps that the scheduler decides, and ends the sequences whose run fails. */
export class StepRunner {
  readonly #options: StepRunnerOptions
  #failuresInARow = 0

  constructor(options: StepRunnerOptions) {
    this.#options = options
  }

  /** The backend has failed several times in a row and not worked since. */
  get isFailing(): boolean {
    return this.#failuresInARow >= toleratedFailures
  }

  /** Runs a step's chunks, then its forced texts, then its decode, and yields each sequence whose next token is due. */
  async *run(step: Step): AsyncGenerator<DueToken, void> {
    const time: StepTime = { prefillMs: 0, decodeMs: 0 }
    for (const chunk of step.chunks) {
      const logits = await this.#prefill(chunk, time)
      if (logits !== undefined) yield { sequence: chunk.sequence, logits }
    }
    for (const jump of step.jumps) {
      const logits = await this.#jump(jump, time)
      if (logits !== undefined) yield { sequence: jump.sequence, logits }
    }
    if (step.decode.length > 0) yield* this.#decode(step.decode, time)
    if (step.chunks.length + step.jumps.length + step.decode.length === 0) await this.#waitForGrammars()
    const report = reportOf(step, time)
    const { observer, pace } = this.#options
    pace.record({
      prefillRows: report.prefillRows,
      seconds: report.prefillSeconds + report.decodeSeconds,
    })
    observer.stepped(report)
  }

  /** The logits behind the prompt's last token; undefined when more of it is to come, or the call failed. */
  async #prefill(chunk: Chunk, time: StepTime): Promise<Float32Array | undefined> {
    const { backend, budget, now, prefixes, scheduler } = this.#options
    const { depth, rows, sequence, tokens } = chunk
    const { phase } = sequence
    if (phase.name !== 'prefilling') return undefined
    const { done, slot } = phase
    const makesRows = sequence.makesRows({ start: done, end: done + tokens.length })
    const adapter = makesRows ? sequence.adapter : undefined
    const start = now()
    const run = { slot, tokens, ...(adapter && { adapter, tail: sequence.tail }) }
    const { promptReading } = sequence
    const computed = await this.#compute(
      [sequence],
      () => promptReading?.run(backend, run) ?? backend.prefill(run),
    )
    if (computed === undefined) return undefined
    // The run is paid for, also where its results are of no use.
    sequence.advance(slot, done + tokens.length)
    if (!(await this.#readPrompt(chunk, { first: done + 1, results: computed.results }))) return undefined
    const ms = promptReading === undefined ? computed.ms : now() - start
    time.prefillMs += ms
    budget.prefilled({ depth, ms, rows })
    if (done + tokens.length < sequence.prompt.length) return undefined
    await prefixes.keep(sequence, slot)
    scheduler.promote(sequence)
    if (sequence.engineRequest.request.maxTokens > 0) return computed.results.subarray(-backend.limits.vocab)
    this.#endPrompt(sequence)
    return undefined
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

  /**
   * Records what the request wants to be told of a chunk's tokens; false when that ended the sequence. `first`: the
   * prompt's token that follows the chunk's first.
   */
  async #readPrompt(
    { sequence, tokens }: Chunk,
    { first, results }: { first: number; results: Float32Array },
  ): Promise<boolean> {
    const { endings, turns } = this.#options
    const { prompt, promptReading } = sequence
    try {
      await promptReading?.add({
        results,
        next: prompt.slice(first, first + tokens.length),
        tokens: tokens.length,
        turn: (numbers) => turns.before(numbers),
      })
      return true
    } catch (error) {
      endings.failComputed(sequence, error)
      return false
    }
  }

  /** The logits behind a forced text; undefined when the call failed. */
  async #jump({ sequence, slot, tokens }: Jump, time: StepTime): Promise<Float32Array | undefined> {
    const { backend } = this.#options
    const computed = await this.#compute([sequence], () => backend.prefill({ slot, tokens }))
    time.decodeMs += computed?.ms ?? 0
    return computed?.results
  }

  async *#decode(batch: readonly Sequence[], time: StepTime): AsyncGenerator<DueToken, void> {
    const { backend, budget } = this.#options
    const rows = batch.flatMap(({ phase }) =>
      phase.name === 'decoding' ? phase.next.map((token) => ({ slot: phase.slot, token })) : [],
    )
    const computed = await this.#compute(batch, () => backend.decode(rows))
    if (computed === undefined) return
    const { results, ms } = computed
    time.decodeMs += ms
    budget.decoded(ms)
    const { vocab } = backend.limits
    for (const [row, sequence] of batch.entries())
      yield { sequence, logits: results.subarray(row * vocab, (row + 1) * vocab) }
  }

  /** Runs one backend call for `sequences`; when it fails they end with `node_error` and the engine goes on. */
  async #compute(
    sequences: readonly Sequence[],
    call: () => Promise<Float32Array>,
  ): Promise<{ readonly results: Float32Array; readonly ms: number } | undefined> {
    const { endings, now, observer } = this.#options
    const start = now()
    try {
      const results = await call()
      this.#failuresInARow = 0
      return { results, ms: now() - start }
    } catch (cause) {
      this.#failuresInARow++
      observer.failed(cause)
      const error = new QuartetError('node_error', 'the node failed while running the model; retry', {
        cause,
      })
      for (const sequence of sequences) endings.fail(sequence, error)
      return undefined
    }
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
