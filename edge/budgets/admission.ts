import type { SettlementId } from '../../shared/ids.ts'
import { kvRows } from '../../shared/kv-rows.ts'
import type { Usage } from '../../shared/wire.ts'
import { sharedTokens } from './charge-terms.ts'
import type { Trial } from './trial-table.ts'

/** The most that a request may use. */
export interface UsageBound {
  /** The name that the client used: an alias or the backbone. */
  readonly model: string
  /** Set where that is an alias with a canary. */
  readonly trial?: Trial | undefined
  /** Prompt tokens of each prompt. */
  readonly prompts: readonly number[]
  /** Rows that the adapter puts in front of each prompt. */
  readonly promptRows: number
  /** Choices per prompt; the prompt is paid for once. */
  readonly n: number
  /** Tokens of each choice at most. */
  readonly maxTokens: number
  /** The weight of a token: less in a batch; 1 when absent. */
  readonly tokenShare?: number | undefined
  /** Models of their own for the choices of a prompt, `n` of them, instead of `model`, `trial` and `promptRows`. */
  readonly answerers?: readonly BoundAnswerer[]
}

/** A model that gives one of a prompt's choices. */
export interface BoundAnswerer {
  readonly model: string
  readonly trial?: Trial | undefined
  readonly promptRows: number
}

/** Who answers with a choice of a prompt, and the rows that are paid for with it. */
export function answererOf(
  { answerers, model, n, promptRows, trial }: UsageBound,
  choice: number,
): BoundAnswerer {
  const place = choice % n
  return answerers?.[place] ?? { model, trial, promptRows: place === 0 ? promptRows : 0 }
}

/** Tokens that a request may use: each prompt, the adapters' rows, and `max_tokens` of every choice. */
export function boundTokens(bound: UsageBound): number {
  const { maxTokens, n, prompts, tokenShare = 1 } = bound
  const ofChoice = (promptTokens: number, choice: number) => {
    const { promptRows } = answererOf(bound, choice)
    const paid = choice === 0 ? promptTokens : 0
    return sharedTokens(kvRows({ promptRows, promptTokens: paid, maxTokens }), tokenShare)
  }
  const choices = Array.from({ length: n }, (_, choice) => choice)
  return prompts.reduce(
    (sum, promptTokens) => choices.reduce((tokens, choice) => tokens + ofChoice(promptTokens, choice), sum),
    0,
  )
}

/** The usage of one choice. */
export interface ChoiceUse {
  /** The settlement of the attempt that served it. */
  readonly settlement: SettlementId
  /** Where that attempt's node is reached. */
  readonly node: string
  readonly usage: Usage
  /** `node`: the node's own count. `edge`: the edge's count of a choice that it ended before the node did. */
  readonly countedBy: 'node' | 'edge'
  /** `stop`, `length` or an error code. */
  readonly outcome: string
  readonly firstTokenMs: number | null
}

/** Room in a tenant's limits for one request. Unused room returns. */
export interface Reservation {
  /** The order to charge a choice; it goes to the choice's node and comes back in its settlement (shared/settlement.ts). */
  terms(choice: number): string
  /** Charges a choice. The first call for a choice counts. */
  settle(choice: number, use: ChoiceUse): void
  /** A choice ended without a token, and costs nothing. No more is said of it. */
  unanswered(choice: number, outcome: string): void
  /**
   * The request is over, on whichever path: choices that were not settled gave no token and cost nothing. The first
   * call counts.
   */
  close(outcome: string): void
}
