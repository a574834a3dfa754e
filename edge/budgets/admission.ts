import type { GenerateEvent } from '../../shared/wire.ts'

/** What a request may use at most, and whom it is charged to. */
export interface Demand {
  /** Prompt tokens of all prompts, plus `max_tokens` of every choice. */
  readonly tokens: number
  /** As the client named it: an alias or the backbone. */
  readonly model: string
}

type Done = Extract<GenerateEvent, { type: 'done' }>

/** Room in a tenant's limits for one request. Settled once, on every path; what is not used returns. */
export interface Reservation {
  /** Goes to the node with each call and comes back in its settlement (shared/settlement.ts). */
  readonly meter: string
  /** `x-ratelimit-*` */
  readonly headers: Readonly<Record<string, string>>
  /** With the node's own counts of every choice; what a request used counts even when it failed midway. */
  settle(used: Settled): void
}

export interface Settled {
  readonly promptTokens: number
  readonly completionTokens: number
  /** `stop`, `length` or an error code. */
  readonly outcome: Done['reason'] | (string & {})
  readonly firstTokenMs: number | null
}
