import type { SettlementId } from '../../shared/ids.ts'
import { kvRows } from '../../shared/kv-rows.ts'
import type { Usage } from '../../shared/wire.ts'
import { sharedTokens } from './meter.ts'

/** The most that a request may use. */
export interface Demand {
  /** As the client named it: an alias or the backbone. */
  readonly model: string
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
}

/** Tokens that a request may use: each prompt with the adapter's rows, and `max_tokens` of every choice. */
export const tokensOf = ({ maxTokens, n, promptRows, prompts, tokenShare = 1 }: Demand): number =>
  prompts.reduce(
    (sum, promptTokens) =>
      sum +
      sharedTokens(kvRows({ promptRows, promptTokens, maxTokens }), tokenShare) +
      (n - 1) * sharedTokens(maxTokens, tokenShare),
    0,
  )

/** The usage of one choice. */
export interface ChoiceUse {
  /** The settlement of the attempt that served it. */
  readonly settlement: SettlementId
  /** Where that attempt's node is reached. */
  readonly node: string
  readonly usage: Usage
  /** `node`: by the node's own count. `edge`: what the edge saw of a choice that it ended before the node did. */
  readonly countedBy: 'node' | 'edge'
  /** `stop`, `length` or an error code. */
  readonly outcome: string
  readonly firstTokenMs: number | null
}

/** Room in a tenant's limits for one request. What is not used returns. */
export interface Reservation {
  /** The order to charge a choice; it goes to the choice's node and comes back in its settlement (shared/settlement.ts). */
  meter(choice: number): string
  /** Charges a choice. The first call for a choice counts. */
  settle(choice: number, use: ChoiceUse): void
  /**
   * The request is over, on whichever path: choices that were not settled gave no token and cost nothing. The first
   * call counts.
   */
  close(outcome: string): void
}
