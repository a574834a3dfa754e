import type { CacheSlot, LoadedAdapter } from '../../model/runtime/backend.ts'
import { makesRows } from '../../model/runtime/prompt-cut.ts'
import type { ErrorCode } from '../../shared/errors.ts'
import type { TenantId } from '../../shared/ids.ts'
import { kvRows } from '../../shared/kv-rows.ts'
import type { FinishReason, GenerateEvent, GenerateRequest, Timings, Usage } from '../../shared/wire.ts'
import type { GrammarSession } from '../grammar/grammar-session.ts'
import type { CallTrace } from './call-trace.ts'
import type { Restored } from './prefix-cache.ts'
import { PromptEmbedding } from './prompt-embedding.ts'
import type { PromptReading } from './prompt-reading.ts'
import { PromptScores } from './prompt-scores.ts'
import { SamplingState } from './sampler.ts'
import { SequenceEvents } from './sequence-events.ts'

/** An adapter that stays resident until it is released; a second release does nothing. */
export interface PinnedAdapter {
  readonly loaded: LoadedAdapter
  release(): void
}

/** A request as the engine takes it: validated and authorised, with its adapter loaded. */
export interface EngineRequest {
  readonly tenant: TenantId
  /** When the tenant was created; absent where the edge does not say it. */
  readonly tenancy?: number | undefined
  readonly request: GenerateRequest
  /** null for the untuned backbone. The engine releases it, also when it refuses the request. */
  readonly adapter: PinnedAdapter | null
  /** The grammar that the answer must follow, if any. The engine closes it, also when it refuses the request. */
  readonly grammar?:
    | Pick<GrammarSession, 'mask' | 'forced' | 'status' | 'accept' | 'settled' | 'close'>
    | undefined
  /** Aborting it frees what the request holds at the next step. */
  readonly signal: AbortSignal
  /** When the node received it, in milliseconds on the engine's clock; by default now. */
  readonly arrivedAt?: number
  /** Where its spans belong when they are recorded. */
  readonly trace?: CallTrace | undefined
}

export type Phase =
  | { readonly name: 'waiting' }
  /** `done` prompt tokens lie in the cache. */
  | { readonly name: 'prefilling'; readonly slot: CacheSlot; readonly done: number }
  /** `next`: the tokens to run next, sent and not yet in the cache. They are several where a grammar left one text. */
  | { readonly name: 'decoding'; readonly slot: CacheSlot; readonly next: readonly number[] }
  /** The logits of its next token are there, and the grammar has not said yet which tokens it allows. */
  | { readonly name: 'held'; readonly slot: CacheSlot; readonly logits: Float32Array }
  | { readonly name: 'ended' }

export type Ending =
  | { readonly type: 'done'; readonly reason: FinishReason }
  | { readonly type: 'error'; readonly code: ErrorCode; readonly message: string }

/** The state of one request from arrival to end. Times are milliseconds on the engine's clock. */
export class Sequence {
  readonly engineRequest: EngineRequest
  readonly events: SequenceEvents
  readonly sampling: SamplingState
  readonly arrivedAt: number
  /** The request's wish to be told of its prompt's tokens, if it has one. */
  readonly promptReading: PromptReading | undefined
  phase: Phase = { name: 'waiting' }
  /** Set from outside the step loop; the loop acts on it. */
  cancelled = false
  #hasRowsWithoutNumbers = false
  #generated = 0
  #prefilled = 0
  #cached = 0
  #admittedAt: number | undefined
  #firstTokenAt: number | undefined

  constructor(engineRequest: EngineRequest, arrivedAt: number) {
    this.engineRequest = engineRequest
    this.arrivedAt = arrivedAt
    this.sampling = new SamplingState(engineRequest.request, engineRequest.grammar?.mask)
    this.promptReading = promptReadingOf(engineRequest.request)
    this.events = new SequenceEvents(() => {
      this.cancelled = true
    })
  }

  get tenant(): TenantId {
    return this.engineRequest.tenant
  }

  get isLowPriority(): boolean {
    return this.engineRequest.request.priority === 'low'
  }

  get ownPriority(): number {
    return this.engineRequest.request.ownPriority ?? 0
  }

  get prompt(): readonly number[] {
    return this.engineRequest.request.prompt
  }

  get adapter(): LoadedAdapter | undefined {
    return this.engineRequest.adapter?.loaded
  }

  /** Rows that its adapter makes; 0 for the untuned backbone. */
  get promptRows(): number {
    return this.adapter?.rows ?? 0
  }

  /** The number of prompt tokens behind late rows; undefined where rows are not late, or where there are none. */
  get tail(): number | undefined {
    const own = this.adapter?.tail
    return own === undefined ? undefined : (this.engineRequest.request.tail ?? own)
  }

  /** The number of prompt tokens in front of a newest turn that has the rows; 0 where they stand elsewhere. */
  get turn(): number {
    return this.adapter?.placement === 'turn' ? (this.engineRequest.request.turn ?? 0) : 0
  }

  /** Whether the run of prompt tokens `start` to `end` makes its prompt rows. */
  makesRows(range: { readonly start: number; readonly end: number }): boolean {
    return makesRows(this, range)
  }

  /** Cache rows it may fill. */
  get rows(): number {
    return kvRows({
      promptRows: this.promptRows,
      promptTokens: this.prompt.length,
      maxTokens: this.engineRequest.request.maxTokens,
    })
  }

  /** Rows of the prompt, the adapter's included, that are still to run. */
  get prefillRowsLeft(): number {
    if (this.phase.name === 'waiting') return this.promptRows + this.prompt.length
    if (this.phase.name !== 'prefilling') return 0
    const { done: start } = this.phase
    const end = this.prompt.length
    return end - start + (this.makesRows({ start, end }) ? this.promptRows : 0)
  }

  /** Tokens that it may still generate. */
  get tokensLeft(): number {
    return this.engineRequest.request.maxTokens - this.#generated
  }

  get deadline(): number {
    return this.arrivedAt + this.engineRequest.request.timeoutMs
  }

  get usage(): Usage {
    const promptRows = this.makesRows({ start: 0, end: this.#prefilled }) ? this.promptRows : 0
    return {
      promptTokens: this.#prefilled,
      ...(promptRows > 0 && { promptRows }),
      ...(this.#prefilled > 0 && this.#cached > 0 && { cachedTokens: this.#cached }),
      completionTokens: this.#generated,
    }
  }

  admit(slot: CacheSlot, now: number): void {
    this.#admittedAt = now
    this.phase = { name: 'prefilling', slot, done: 0 }
  }

  /** Its first prompt tokens lie in the slot already. */
  reuse(slot: CacheSlot, { earlier, tokens }: Restored): void {
    this.#cached = earlier
    this.phase = { name: 'prefilling', slot, done: tokens }
  }

  /** Records that prompt tokens up to `done` lie in the cache. */
  advance(slot: CacheSlot, done: number): void {
    this.#prefilled = done
    this.phase = { name: 'prefilling', slot, done }
    if (done === this.prompt.length) this.engineRequest.adapter?.release()
  }

  /**
   * Takes the logits of the run that made the prompt rows. The runs behind it may give numbers all the same: a cache of whole
   * numbers has no NaN.
   */
  checkRows(logits: Float32Array): void {
    this.#hasRowsWithoutNumbers = Number.isNaN(logits[0])
  }

  get hasRowsWithoutNumbers(): boolean {
    return this.#hasRowsWithoutNumbers
  }

  /** Sends what the request wants to be told of the prompt's tokens. Throws `node_error` where that is no number. */
  sendPromptReading(): void {
    for (const event of this.promptReading?.take() ?? []) this.events.push(event)
  }

  /** Records and sends a chosen token; why the sequence is over when it was the last. */
  append(event: Extract<GenerateEvent, { type: 'token' }>, now: number): FinishReason | undefined {
    const { maxTokens, stopTokens } = this.engineRequest.request
    this.#generated++
    this.#firstTokenAt ??= now
    const stop = stopTokens.includes(event.id)
    this.events.push({
      ...event,
      ...(stop && { stop }),
      ...(this.#generated === 1 && this.#cached > 0 && { cachedTokens: this.#cached }),
    })
    if (stop) return 'stop'
    this.engineRequest.grammar?.accept(event.id)
    return this.#generated === maxTokens ? 'length' : undefined
  }

  /** Ends the stream and gives back all that the request holds. */
  end(ending: Ending, now: number): void {
    if (this.phase.name === 'ended') return
    if (this.phase.name !== 'waiting') this.phase.slot.release()
    this.engineRequest.adapter?.release()
    this.engineRequest.grammar?.close()
    this.phase = { name: 'ended' }
    const { usage } = this
    this.events.end(
      ending.type === 'done' ? { ...ending, usage, timings: this.timings(now) } : { ...ending, usage },
    )
  }

  timings(now: number): Timings {
    const admitted = this.#admittedAt ?? now
    const first = this.#firstTokenAt ?? now
    return { queueMs: admitted - this.arrivedAt, prefillMs: first - admitted, decodeMs: now - first }
  }
}

function promptReadingOf({ embedding, promptLogprobs }: GenerateRequest): PromptReading | undefined {
  if (embedding !== undefined) return new PromptEmbedding()
  return promptLogprobs === undefined ? undefined : new PromptScores(promptLogprobs)
}
