import type { Backend } from '../../model/runtime/backend.ts'
import { Turns } from '../../model/runtime/turns.ts'
import { QuartetError, toQuartetError } from '../../shared/errors.ts'
import type { GenerateEvent } from '../../shared/wire.ts'
import { checkRunnable } from './admission.ts'
import { Arrivals } from './arrivals.ts'
import type { Chunk } from './chunk.ts'
import { PrefixCache } from './prefix-cache.ts'
import type { QueueLimits } from './queue.ts'
import type { EngineObserver } from './reports.ts'
import { Sampler } from './sampler.ts'
import { Scheduler, type Step } from './scheduler.ts'
import { type Ending, type EngineRequest, Sequence } from './sequence.ts'
import { StepBudget } from './step-budget.ts'
import { StepPace } from './step-pace.ts'

/** How long the engine sleeps at most while all it has waits for grammars: long enough to idle, short enough for a deadline. */
const grammarPatienceMs = 50

/** Steps in a row that may fail before the engine calls itself failing. */
const toleratedFailures = 3
const usualStepMs = 100
/** How many logits tokens are chosen from between two turns of the event loop: some milliseconds. */
const logitsInTurn = 2 ** 19

export interface EngineOptions {
  readonly backend: Backend
  readonly queue: QueueLimits
  /** Rows of prompts that one step prefills, at most and by default the backend's `chunkTokens`. */
  readonly chunkTokens?: number
  /** How long one step should take: the longest pause of a running stream. 100 ms by default. */
  readonly stepMs?: number
  /** Memory for rows of earlier prompts; none by default. */
  readonly prefixBytes?: number
  readonly observer?: EngineObserver
  /** Monotonic milliseconds. */
  readonly now?: () => number
}

/** Logits of one sequence's next token: [vocab], until the next run. */
interface Answered {
  readonly sequence: Sequence
  readonly logits: Float32Array
}

/** How long a step's runs took, as far as they went well. */
interface StepTime {
  prefillMs: number
  decodeMs: number
}

const unobserved: EngineObserver = { stepped: () => {}, ended: () => {}, failed: () => {} }

/**
 * The step loop: schedule, run, postprocess, until nothing is left to do. The loop owns every sequence; others submit
 * requests, abort them through their signal and read their events.
 */
export class Engine {
  /** Announce a request here while it is being read, so that it makes the next step. */
  readonly arrivals = new Arrivals()
  readonly #backend: Backend
  readonly #scheduler: Scheduler
  readonly #sampler: Sampler
  readonly #observer: EngineObserver
  readonly #now: () => number
  readonly #budget: StepBudget
  readonly #prefixes: PrefixCache
  readonly #pace = new StepPace()
  readonly #turns = new Turns(logitsInTurn)
  #loop: Promise<void> = Promise.resolve()
  #looping = false
  #draining = false
  #closing = false
  #failuresInARow = 0

  constructor({
    backend,
    queue,
    observer = unobserved,
    now = () => performance.now(),
    prefixBytes = 0,
    stepMs = usualStepMs,
    ...options
  }: EngineOptions) {
    const most = backend.limits.chunkTokens
    this.#backend = backend
    this.#budget = new StepBudget({ stepMs, mostRows: Math.min(most, options.chunkTokens ?? most) })
    this.#prefixes = new PrefixCache({ backend, bytes: prefixBytes })
    this.#scheduler = new Scheduler({ backend, queue, budget: this.#budget, prefixes: this.#prefixes })
    this.#sampler = new Sampler(backend.limits.vocab)
    this.#observer = observer
    this.#now = now
  }

  get draining(): boolean {
    return this.#draining
  }

  /** The backend has failed several times in a row and not worked since. */
  get failing(): boolean {
    return this.#failuresInARow >= toleratedFailures
  }

  get running(): number {
    return this.#scheduler.runningCount
  }

  get waiting(): number {
    return this.#scheduler.queue.length
  }

  /** Cache rows set aside for the running sequences. */
  get cacheRows(): number {
    return this.#scheduler.running.reduce((rows, sequence) => rows + sequence.rows, 0)
  }

  /** Memory of rows of earlier prompts. */
  get prefixBytes(): number {
    return this.#prefixes.bytes
  }

  /**
   * Queues a request. Its events come in pieces, what there is since the last; the last event is `done` or `error`.
   * Leaving the iteration early cancels the request. Throws, with nothing kept, `draining`, `queue_full`,
   * `context_length_exceeded`, `invalid_request` or `client_closed_request`.
   */
  submit(engineRequest: EngineRequest): AsyncIterable<readonly GenerateEvent[]> {
    try {
      const sequence = new Sequence(engineRequest, engineRequest.arrivedAt ?? this.#now())
      if (this.#draining)
        throw new QuartetError('draining', 'the node is shutting down; send the request to another one')
      if (engineRequest.signal.aborted) throw new QuartetError('client_closed_request', 'the client left')
      checkRunnable(sequence, this.#backend.limits)
      this.#scheduler.queue.push(sequence, () => this.#placeAfterSeconds())
      this.#start()
      return sequence.events
    } catch (refusal) {
      engineRequest.adapter?.release()
      engineRequest.grammar?.close()
      throw refusal
    }
  }

  /** Refuses new requests from now on; resolves when those it has are over. */
  drain(): Promise<void> {
    this.#draining = true
    return this.#loop
  }

  /** Ends every request with a `draining` error and closes the backend. */
  async close(): Promise<void> {
    this.#draining = true
    this.#closing = true
    await this.#loop
    await this.#backend.close()
  }

  #start(): void {
    if (this.#looping) return
    this.#looping = true
    this.#loop = this.#run()
  }

  async #run(): Promise<void> {
    while (!this.#scheduler.idle) {
      await this.arrivals.settle()
      try {
        this.#endOverdue()
        await this.#step()
      } catch (error) {
        this.#observer.failed(error)
        for (const sequence of this.#all()) this.#fail(sequence, toQuartetError(error))
      }
    }
    this.#scheduler.queue.settle()
    this.#looping = false
  }

  async #step(): Promise<void> {
    for (const sequence of this.#scheduler.held)
      if (sequence.phase.name === 'held') {
        await this.#turns.before(sequence.phase.logits.length)
        this.#postprocess({ sequence, logits: sequence.phase.logits })
      }
    const step = await this.#scheduler.schedule(this.#now())
    const time: StepTime = { prefillMs: 0, decodeMs: 0 }
    for await (const answered of this.#runModel(step, time)) {
      await this.#turns.before(answered.logits.length)
      this.#postprocess(answered)
    }
    this.#account(step, time)
  }

  #all(): readonly Sequence[] {
    return [...this.#scheduler.running, ...this.#scheduler.queue]
  }

  #endOverdue(): void {
    const now = this.#now()
    for (const sequence of this.#all()) {
      if (sequence.cancelled || sequence.engineRequest.signal.aborted)
        this.#fail(sequence, new QuartetError('client_closed_request', 'the client left'))
      else if (now >= sequence.deadline)
        this.#fail(
          sequence,
          new QuartetError(
            'deadline_exceeded',
            `not done within ${sequence.engineRequest.request.timeoutMs} ms`,
          ),
        )
      else if (this.#closing)
        this.#fail(sequence, new QuartetError('draining', 'the node shut down; retry elsewhere'))
    }
  }

  /** Runs a step's chunks, then its decode; gives the logits of each sequence whose next token is due. */
  async *#runModel({ chunks, decode }: Step, time: StepTime): AsyncGenerator<Answered, void> {
    for (const chunk of chunks) {
      const logits = await this.#prefill(chunk, time)
      if (logits !== undefined) yield { sequence: chunk.sequence, logits }
    }
    if (decode.length > 0) yield* this.#decode(decode, time)
    if (chunks.length > 0 || decode.length > 0) return
    const held = this.#scheduler.held.flatMap(({ engineRequest }) => engineRequest.grammar ?? [])
    if (held.length === 0) return this.#failUnplaceable()
    await Promise.race(held.map((grammar) => grammar.settled(grammarPatienceMs)))
  }

  /** The logits behind the prompt's last token; undefined when more of it is to come, or the call failed. */
  async #prefill(chunk: Chunk, time: StepTime): Promise<Float32Array | undefined> {
    const { depth, rows, sequence, tokens } = chunk
    const { phase } = sequence
    if (phase.name !== 'prefilling') return undefined
    const { done, slot } = phase
    const makesRows = sequence.makesRows({ start: done, end: done + tokens.length })
    const adapter = makesRows ? sequence.adapter : undefined
    const start = this.#now()
    const run = { slot, tokens, ...(adapter && { adapter, tail: sequence.tail }) }
    const { promptReading } = sequence
    const computed = await this.#compute(
      [sequence],
      () => promptReading?.run(this.#backend, run) ?? this.#backend.prefill(run),
    )
    if (computed === undefined) return undefined
    // The run is paid for, also where its results are of no use.
    sequence.advance(slot, done + tokens.length)
    if (!(await this.#readPrompt(chunk, { first: done + 1, results: computed.results }))) return undefined
    const ms = promptReading === undefined ? computed.ms : this.#now() - start
    time.prefillMs += ms
    this.#budget.prefilled({ depth, ms, rows })
    if (done + tokens.length < sequence.prompt.length) return undefined
    await this.#prefixes.keep(sequence, slot)
    this.#scheduler.promote(sequence)
    if (sequence.engineRequest.request.maxTokens > 0)
      return computed.results.subarray(-this.#backend.limits.vocab)
    this.#endPrompt(sequence)
    return undefined
  }

  /** The request wants nothing but its prompt read. */
  #endPrompt(sequence: Sequence): void {
    try {
      sequence.sendPromptReading()
      this.#end(sequence, { type: 'done', reason: 'length' })
    } catch (error) {
      this.#failComputed(sequence, error)
    }
  }

  /**
   * Takes down what the request wants to be told of a chunk's tokens; false when that ended the sequence. `first`: the
   * prompt's token that follows the chunk's first.
   */
  async #readPrompt(
    { sequence, tokens }: Chunk,
    { first, results }: { first: number; results: Float32Array },
  ): Promise<boolean> {
    const { prompt, promptReading } = sequence
    try {
      await promptReading?.add({
        results,
        next: prompt.slice(first, first + tokens.length),
        tokens: tokens.length,
        turn: (numbers) => this.#turns.before(numbers),
      })
      return true
    } catch (error) {
      this.#failComputed(sequence, error)
      return false
    }
  }

  async *#decode(batch: readonly Sequence[], time: StepTime): AsyncGenerator<Answered, void> {
    const rows = batch.flatMap(({ phase }) =>
      phase.name === 'decoding' ? [{ slot: phase.slot, token: phase.next }] : [],
    )
    const computed = await this.#compute(batch, () => this.#backend.decode(rows))
    if (computed === undefined) return
    const { results, ms } = computed
    time.decodeMs += ms
    this.#budget.decoded(ms)
    const { vocab } = this.#backend.limits
    for (const [row, sequence] of batch.entries())
      yield { sequence, logits: results.subarray(row * vocab, (row + 1) * vocab) }
  }

  /** Runs one backend call for `sequences`; when it fails they end with `node_error` and the engine goes on. */
  async #compute(
    sequences: readonly Sequence[],
    call: () => Promise<Float32Array>,
  ): Promise<{ readonly results: Float32Array; readonly ms: number } | undefined> {
    const start = this.#now()
    try {
      const results = await call()
      this.#failuresInARow = 0
      return { results, ms: this.#now() - start }
    } catch (cause) {
      this.#failuresInARow++
      this.#observer.failed(cause)
      const error = new QuartetError('node_error', 'the node failed while running the model; retry', {
        cause,
      })
      for (const sequence of sequences) this.#fail(sequence, error)
      return undefined
    }
  }

  /** Chooses a sequence's next token, sends it, and ends the sequence when it was the last. */
  #postprocess({ logits, sequence }: Answered): void {
    const { phase } = sequence
    if (phase.name !== 'prefilling' && phase.name !== 'decoding' && phase.name !== 'held') return
    try {
      sequence.sendPromptReading()
      const standing = sequence.engineRequest.grammar?.standing
      if (standing === 'waiting') {
        if (phase.name !== 'held') sequence.phase = { name: 'held', slot: phase.slot, logits: logits.slice() }
        return
      }
      if (standing === 'complete') {
        this.#end(sequence, { type: 'done', reason: 'stop' })
        return
      }
      if (standing === 'failed')
        throw new QuartetError('node_error', 'the node lost its place in the grammar; retry')
      const choice = this.#sampler.choose(logits, sequence.sampling)
      this.#scheduler.chargeToken(sequence.tenant)
      const reason = sequence.append({ type: 'token', ...choice }, this.#now())
      if (reason === undefined) sequence.phase = { name: 'decoding', slot: phase.slot, next: choice.id }
      else this.#end(sequence, { type: 'done', reason })
    } catch (error) {
      this.#failComputed(sequence, error)
    }
  }

  /** The model ran, and what it gave is of no use. */
  #failComputed(sequence: Sequence, error: unknown): void {
    const failure = toQuartetError(error)
    if (failure.code === 'node_error' && sequence.engineRequest.adapter !== null)
      this.#fail(sequence, unusableAdapter())
    else {
      this.#observer.failed(error)
      this.#fail(sequence, failure)
    }
  }

  /**
   * The latest begin of the request that is next in the queue: the running requests are over then, at the pace of the
   * last steps, and by its deadline at any pace. Whole seconds; undefined before such steps have run.
   */
  #placeAfterSeconds(): number | undefined {
    const { running } = this.#scheduler
    const now = this.#now()
    const atThisPace = this.#pace.secondsFor({
      prefillRows: running.reduce((rows, sequence) => rows + sequence.prefillRowsLeft, 0),
      tokens: Math.max(0, ...running.map(({ tokensLeft }) => tokensLeft)),
    })
    if (atThisPace === undefined) return undefined
    const atAnyPace = Math.max(0, ...running.map(({ deadline }) => (deadline - now) / 1000))
    return Math.max(1, Math.ceil(Math.min(atThisPace, atAnyPace)))
  }

  /** Records the work of a step and its time, for Retry-After, metrics and logs. */
  #account({ chunks, decode }: Step, { decodeMs, prefillMs }: StepTime): void {
    const sum = (count: (chunk: Chunk) => number) => chunks.reduce((total, chunk) => total + count(chunk), 0)
    const rows = sum((chunk) => chunk.rows)
    this.#pace.record({ prefillRows: rows, seconds: (prefillMs + decodeMs) / 1000 })
    this.#observer.stepped({
      prefillTokens: sum(({ tokens }) => tokens.length),
      prefillRows: rows,
      prefillSeconds: prefillMs / 1000,
      decodeTokens: decode.length,
      decodeSeconds: decodeMs / 1000,
    })
  }

  /** Nothing runs and the first in the queue got no room: the backend's limits promised what it does not keep. */
  #failUnplaceable(): void {
    const sequence = this.#scheduler.queue.peek()
    if (sequence !== undefined)
      this.#fail(
        sequence,
        new QuartetError('node_error', 'the node found no cache room for the request; retry elsewhere'),
      )
  }

  #fail(sequence: Sequence, { code, message }: QuartetError): void {
    this.#end(sequence, { type: 'error', code, message })
  }

  #end(sequence: Sequence, ending: Ending): void {
    const now = this.#now()
    sequence.end(ending, now)
    this.#scheduler.retire(sequence)
    this.#observer.ended({
      requestId: sequence.engineRequest.request.requestId,
      engineRequest: sequence.engineRequest,
      outcome: ending.type === 'done' ? ending.reason : ending.code,
      usage: sequence.usage,
      timings: sequence.timings(now),
    })
  }
}

/** The untuned backbone's logits are numbers, so that an adapter is what made them none: no node can do better. */
const unusableAdapter = () =>
  new QuartetError(
    'adapter_unusable',
    "the adapter's weights are too large: what they compute for this prompt is no number; train it anew, or roll the alias back",
  )
