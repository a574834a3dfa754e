import type { Backend } from '../../model/runtime/backend.ts'
import { QuartetError, toQuartetError } from '../../shared/errors.ts'
import type { GenerateEvent } from '../../shared/wire.ts'
import { checkRunnable } from './admission.ts'
import { Arrivals } from './arrivals.ts'
import type { QueueLimits } from './queue.ts'
import type { EngineObserver } from './reports.ts'
import { Sampler } from './sampler.ts'
import { type Chunk, Scheduler, type Step } from './scheduler.ts'
import { type Ending, Sequence, type Submission } from './sequence.ts'
import { Throughput } from './throughput.ts'

/** Steps in a row that may fail before the engine calls itself failing. */
const toleratedFailures = 3

export interface EngineOptions {
  readonly backend: Backend
  readonly queue: QueueLimits
  /** Prompt tokens that one step prefills, at most and by default the backend's `chunkTokens`. */
  readonly chunkTokens?: number
  readonly observer?: EngineObserver
  /** Monotonic milliseconds. */
  readonly now?: () => number
}

const unobserved: EngineObserver = { stepped: () => {}, ended: () => {}, failed: () => {} }

/**
 * The step loop: plan, run, postprocess, until nothing is left to do. The loop owns every sequence; others submit
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
  readonly #throughput = new Throughput()
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
    ...options
  }: EngineOptions) {
    const most = backend.limits.chunkTokens
    const chunkTokens = Math.min(most, options.chunkTokens ?? most)
    this.#backend = backend
    this.#scheduler = new Scheduler({ backend, queue, chunkTokens })
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

  /**
   * Queues a request. Its events come in pieces, what there is since the last; the last event is `done` or `error`.
   * Leaving the iteration early cancels the request. Throws, with nothing kept, `draining`, `queue_full`,
   * `context_length_exceeded`, `invalid_request` or `client_closed_request`.
   */
  submit(submission: Submission): AsyncIterable<readonly GenerateEvent[]> {
    try {
      const sequence = new Sequence(submission, submission.arrivedAt ?? this.#now())
      if (this.#draining)
        throw new QuartetError('draining', 'the node is shutting down; send the request to another one')
      if (submission.signal.aborted) throw new QuartetError('client_closed_request', 'the client left')
      checkRunnable(sequence, this.#backend.limits)
      const { queue } = this.#scheduler
      queue.push(sequence, this.#throughput.retryAfterSeconds(queue.tokens))
      this.#start()
      return sequence.events
    } catch (refusal) {
      submission.adapter?.release()
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
        const start = this.#now()
        await this.#execute(this.#scheduler.plan(start), start)
      } catch (error) {
        this.#observer.failed(error)
        for (const sequence of this.#all()) this.#fail(sequence, toQuartetError(error))
      }
    }
    this.#scheduler.queue.settle()
    this.#looping = false
  }

  #all(): readonly Sequence[] {
    return [...this.#scheduler.running, ...this.#scheduler.queue]
  }

  #endOverdue(): void {
    const now = this.#now()
    for (const sequence of this.#all()) {
      if (sequence.cancelled || sequence.submission.signal.aborted)
        this.#fail(sequence, new QuartetError('client_closed_request', 'the client left'))
      else if (now >= sequence.deadline)
        this.#fail(
          sequence,
          new QuartetError(
            'deadline_exceeded',
            `not done within ${sequence.submission.request.timeoutMs} ms`,
          ),
        )
      else if (this.#closing)
        this.#fail(sequence, new QuartetError('draining', 'the node shut down; retry elsewhere'))
    }
  }

  async #execute({ chunks, decode }: Step, start: number): Promise<void> {
    for (const chunk of chunks) await this.#prefill(chunk)
    const prefilled = this.#now()
    if (decode.length > 0) await this.#decode(decode)
    const end = this.#now()
    if (chunks.length === 0 && decode.length === 0) this.#failUnplaceable()
    const prefillTokens = chunks.reduce((sum, { tokens }) => sum + tokens.length, 0)
    this.#throughput.record({ tokens: prefillTokens + decode.length, seconds: (end - start) / 1000 })
    this.#observer.stepped({
      prefillTokens,
      prefillSeconds: (prefilled - start) / 1000,
      decodeTokens: decode.length,
      decodeSeconds: (end - prefilled) / 1000,
    })
  }

  async #prefill({ sequence, tokens }: Chunk): Promise<void> {
    const { phase } = sequence
    if (phase.name !== 'prefilling') return
    const { slot, done } = phase
    const adapter = done === 0 ? sequence.adapter : undefined
    const logits = await this.#compute([sequence], () =>
      this.#backend.prefill({ slot, tokens, ...(adapter && { adapter }) }),
    )
    if (logits === undefined) return
    sequence.advance(slot, done + tokens.length)
    if (done + tokens.length < sequence.prompt.length) return
    this.#scheduler.promote(sequence)
    this.#postprocess(sequence, logits)
  }

  async #decode(batch: readonly Sequence[]): Promise<void> {
    const rows = batch.flatMap(({ phase }) =>
      phase.name === 'decoding' ? [{ slot: phase.slot, token: phase.next }] : [],
    )
    const logits = await this.#compute(batch, () => this.#backend.decode(rows))
    if (logits === undefined) return
    const { vocab } = this.#backend.limits
    for (const [row, sequence] of batch.entries())
      this.#postprocess(sequence, logits.subarray(row * vocab, (row + 1) * vocab))
  }

  /** Runs one backend call for `sequences`; when it fails they end with `node_error` and the engine goes on. */
  async #compute(
    sequences: readonly Sequence[],
    call: () => Promise<Float32Array>,
  ): Promise<Float32Array | undefined> {
    try {
      const logits = await call()
      this.#failuresInARow = 0
      return logits
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

  #postprocess(sequence: Sequence, logits: Float32Array): void {
    const { phase } = sequence
    if (phase.name !== 'prefilling' && phase.name !== 'decoding') return
    try {
      const choice = this.#sampler.choose(logits, sequence.sampling)
      this.#scheduler.chargeToken(sequence.tenant)
      const reason = sequence.append({ type: 'token', ...choice }, this.#now())
      if (reason === undefined) sequence.phase = { name: 'decoding', slot: phase.slot, next: choice.id }
      else this.#end(sequence, { type: 'done', reason })
    } catch (error) {
      this.#observer.failed(error)
      this.#fail(sequence, toQuartetError(error))
    }
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
      requestId: sequence.submission.request.requestId,
      submission: sequence.submission,
      outcome: ending.type === 'done' ? ending.reason : ending.code,
      usage: sequence.usage,
      timings: sequence.timings(now),
    })
  }
}
