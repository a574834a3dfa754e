import type { Backend } from '../../model/runtime/backend.ts'
import { Turns } from '../../model/runtime/turns.ts'
import { QuartetError, toQuartetError } from '../../shared/errors.ts'
import type { GenerateEvent } from '../../shared/wire.ts'
import { slowToFollow } from '../grammar/followed-text.ts'
import { checkRunnable } from './admission.ts'
import { Arrivals } from './arrivals.ts'
import { Endings } from './endings.ts'
import { PrefixCache } from './prefix-cache.ts'
import type { QueueLimits } from './queue.ts'
import type { EngineObserver } from './reports.ts'
import { type ChosenToken, Sampler } from './sampler.ts'
import { Scheduler } from './scheduler.ts'
import { type EngineRequest, Sequence } from './sequence.ts'
import { StepBudget } from './step-budget.ts'
import { StepPace } from './step-pace.ts'
import { type DueToken, StepRunner } from './step-runner.ts'

const usualStepMs = 100
/** A forced text of fewer tokens runs token by token: beside others in a batch that is quicker than a run of its own. */
const usualLeastJump = 4
/** How many logits tokens are chosen from between two turns of the event loop: some milliseconds. */
const logitsInTurn = 2 ** 20

export interface EngineOptions {
  readonly backend: Backend
  readonly queue: QueueLimits
  /** Rows of prompts that one step prefills, at most and by default the backend's `chunkTokens`. */
  readonly chunkTokens?: number
  /** How long one step should take: the longest pause of a running stream. 100 ms by default. */
  readonly stepMs?: number
  /** Memory for rows of earlier prompts; none by default. */
  readonly prefixBytes?: number
  /** Tokens of a forced text that run at once, at least; infinity runs all token by token. 4 by default. */
  readonly leastJump?: number
  readonly observer?: EngineObserver
  /** Monotonic milliseconds. */
  readonly now?: () => number
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
  readonly #prefixes: PrefixCache
  readonly #pace = new StepPace()
  readonly #turns = new Turns(logitsInTurn)
  readonly #endings: Endings
  readonly #runner: StepRunner
  readonly #leastJump: number
  #loop: Promise<void> = Promise.resolve()
  #looping = false
  #draining = false
  #closing = false

  constructor({
    backend,
    leastJump = usualLeastJump,
    queue,
    observer = unobserved,
    now = () => performance.now(),
    prefixBytes = 0,
    stepMs = usualStepMs,
    ...options
  }: EngineOptions) {
    const most = backend.limits.chunkTokens
    const budget = new StepBudget({ stepMs, mostRows: Math.min(most, options.chunkTokens ?? most) })
    const prefixes = new PrefixCache({ backend, bytes: prefixBytes })
    const scheduler = new Scheduler({ backend, queue, budget, prefixes })
    const endings = new Endings({ scheduler, observer, now })
    this.#backend = backend
    this.#leastJump = leastJump
    this.#prefixes = prefixes
    this.#scheduler = scheduler
    this.#endings = endings
    this.#runner = new StepRunner({
      backend,
      scheduler,
      prefixes,
      budget,
      endings,
      observer,
      now,
      pace: this.#pace,
      turns: this.#turns,
    })
    this.#sampler = new Sampler(backend.limits.vocab)
    this.#observer = observer
    this.#now = now
  }

  get draining(): boolean {
    return this.#draining
  }

  /** The backend has failed several times in a row and not worked since. */
  get failing(): boolean {
    return this.#runner.isFailing
  }

  get running(): number {
    return this.#scheduler.runningCount
  }

  get waiting(): number {
    return this.#scheduler.queue.length
  }

  /** Cache rows that the running sequences take from others. */
  get takenRows(): number {
    return this.#backend.takenRows
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
      this.#scheduler.queue.push(sequence, () =>
        this.#pace.secondsToPlace(this.#scheduler.running, this.#now()),
      )
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
        this.#endings.endOverdue(this.#all(), { isClosing: this.#closing })
        await this.#resumeHeld()
        await this.#step()
      } catch (error) {
        this.#observer.failed(error)
        for (const sequence of this.#all()) this.#endings.fail(sequence, toQuartetError(error))
      }
    }
    this.#scheduler.queue.settle()
    this.#looping = false
  }

  async #step(): Promise<void> {
    const step = await this.#scheduler.schedule(this.#now())
    for await (const due of this.#runner.run(step)) await this.#postprocess(due)
  }

  /** Sequences that waited for their grammar get their token once it says which tokens it allows. */
  async #resumeHeld(): Promise<void> {
    for (const sequence of this.#scheduler.held)
      if (sequence.phase.name === 'held') await this.#postprocess({ sequence, logits: sequence.phase.logits })
  }

  #all(): readonly Sequence[] {
    return [...this.#scheduler.running, ...this.#scheduler.queue]
  }

  /** Chooses a sequence's next tokens, sends them, and ends the sequence when one was the last. */
  async #postprocess({ logits, sequence }: DueToken): Promise<void> {
    await this.#turns.before(logits.length)
    const { phase } = sequence
    if (phase.name !== 'prefilling' && phase.name !== 'decoding' && phase.name !== 'held') return
    try {
      sequence.sendPromptReading()
      const status = sequence.engineRequest.grammar?.status
      if (status === 'waiting') {
        if (phase.name !== 'held') sequence.phase = { name: 'held', slot: phase.slot, logits: logits.slice() }
        return
      }
      if (status === 'complete') {
        this.#endings.end(sequence, { type: 'done', reason: 'stop' })
        return
      }
      if (status === 'slow')
        throw new QuartetError('grammar_invalid', `${slowToFollow}; make it simpler`, { param: 'grammar' })
      if (status === 'failed') {
        const lost = new QuartetError('node_error', 'the node lost its place in the grammar; retry')
        this.#endings.failHere(sequence, lost)
        return
      }
      const next: number[] = []
      for (const choice of this.#choices(sequence, logits)) {
        this.#scheduler.chargeToken(sequence.tenant)
        const reason = sequence.append({ type: 'token', ...choice }, this.#now())
        if (reason !== undefined) {
          this.#endings.end(sequence, { type: 'done', reason })
          return
        }
        next.push(choice.id)
      }
      sequence.phase = { name: 'decoding', slot: phase.slot, next }
    } catch (error) {
      this.#endings.failComputed(sequence, error)
    }
  }

  /** The next token, or all tokens of a forced text. Their log-probabilities would have to be computed one by one. */
  #choices({ engineRequest, sampling: state }: Sequence, logits: Float32Array): readonly ChosenToken[] {
    const forced = engineRequest.grammar?.forced ?? []
    if (forced.length === 0) return [this.#sampler.choose(logits, state)]
    const jumps = state.logprobs === null && forced.length >= this.#leastJump
    return (jumps ? forced : forced.slice(0, 1)).map((id) => this.#sampler.force(id, { logits, state }))
  }
}
