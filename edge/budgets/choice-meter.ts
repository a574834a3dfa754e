import type { ErrorCode } from '../../shared/errors.ts'
import type { GenerateEvent, Usage } from '../../shared/wire.ts'
import { NodeFailure } from '../routing/node-failures.ts'
import type { ChoiceUse, Reservation } from './admission.ts'

export interface Metered {
  readonly reservation: Pick<Reservation, 'settle'>
  readonly choice: number
  readonly settlement: ChoiceUse['settlement']
  /** Where its node is reached. */
  readonly node: string
  readonly promptTokens: number
  readonly promptRows: number
  /** The request's: once it is aborted, that its stream breaks is no failure of the node. */
  readonly signal: AbortSignal
}

/**
 * Is told the events of one attempt at a choice, and settles the choice with what they tell. A failure settles
 * nothing before `end`, as another attempt may take this one's place.
 */
export class ChoiceMeter {
  readonly #metered: Metered
  #tokens = 0
  #cachedTokens = 0
  #usage: Usage | undefined
  #failure: ErrorCode | undefined

  constructor(metered: Metered) {
    this.#metered = metered
  }

  /** An event goes by. */
  see(event: GenerateEvent): void {
    if (event.type === 'token') {
      this.#tokens += 1
      this.#cachedTokens ||= event.cachedTokens ?? 0
    }
    if (event.type !== 'done') return
    const { reason, timings, usage } = event
    this.#settle({ outcome: reason, usage, firstTokenMs: timings.queueMs + timings.prefillMs })
  }

  /** The attempt broke. Once the request is over, that is no failure of the node. */
  failed(thrown: unknown): void {
    if (this.#metered.signal.aborted) return
    this.#failure = thrown instanceof NodeFailure ? thrown.verdict.code : 'internal_error'
    if (thrown instanceof NodeFailure) this.#usage = thrown.usage
  }

  /** Tokens generated so far, or in all by the node's own count. */
  get completionTokens(): number {
    return this.#usage?.completionTokens ?? this.#tokens
  }

  /** Prompt tokens that the node had run for an earlier request, by its own count; 0 while it has not said. */
  get cachedTokens(): number {
    return this.#usage?.cachedTokens ?? this.#cachedTokens
  }

  /** It is over, and perhaps without a word of the node: the edge left first, or the node fell silent. */
  end(outcome: string): void {
    const hasFailed = this.#failure !== undefined && !this.#metered.signal.aborted
    this.#settle({ outcome: hasFailed ? (this.#failure ?? outcome) : outcome, usage: this.#usage })
  }

  /** The request ended while another attempt was to take the place of this one, whose failure is none of the request's. */
  replaced(outcome: string): void {
    this.#settle({ outcome, usage: this.#usage })
  }

  /** The first word counts. */
  #settle({
    firstTokenMs = null,
    outcome,
    usage,
  }: {
    outcome: string
    usage?: Usage | undefined
    firstTokenMs?: number | null
  }): void {
    const { choice, node, promptRows, promptTokens, reservation, settlement } = this.#metered
    const cachedTokens = this.#cachedTokens
    const seen = {
      promptTokens,
      ...(promptRows > 0 && { promptRows }),
      ...(cachedTokens > 0 && { cachedTokens }),
      completionTokens: this.#tokens,
    }
    this.#usage ??= usage
    reservation.settle(choice, {
      settlement,
      node,
      outcome,
      firstTokenMs,
      usage: usage ?? seen,
      countedBy: usage === undefined ? 'edge' : 'node',
    })
  }
}
