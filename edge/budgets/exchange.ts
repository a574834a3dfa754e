import type { SettlementId } from '../../shared/ids.ts'
import type { Usage } from '../../shared/wire.ts'
import type { Amount, LimitName, Limits, Standings } from './limits.ts'
import type { Meter } from './meter.ts'

/** What isolates and a tenant's budget tell each other. Durations, never points in time: clocks may differ. */

/** What one choice of a request used. */
export interface Charge {
  /** Of the attempt that served the choice. A choice is charged once, however often it is told. */
  readonly id: SettlementId
  readonly meter: Meter
  readonly usage: Usage
  /** `stop`, `length` or an error code. */
  readonly outcome: string
  readonly firstTokenMs: number | null
  /** `node`: by the node's own count. `edge`: what the edge saw, where the node's count is lost. */
  readonly countedBy: 'node' | 'edge'
}

/** Unspent parts of a lease. */
export interface Returned {
  readonly lease: string
  readonly tokens: number
  readonly slots: number
}

/** Parts of a minute's allowance; worth nothing once the minute is over. */
export interface ReturnedAllowance {
  readonly minute: number
  readonly requests: number
  readonly tokens: number
}

export interface Ask {
  /** The isolate. */
  readonly holder: string
  readonly lease: string
  /** Tokens that a waiting request may use at most; null when none waits. */
  readonly need: number | null
  /** What the isolate would like beyond that, so as not to ask for each request. */
  readonly extra: { readonly requests: number; readonly tokens: number; readonly slots: number }
  /** How long an admitted request may run. */
  readonly timeoutMs: number
}

export interface Exchange {
  /** The same exchange sent twice counts once and gets the same answer. */
  readonly id: string
  readonly charges: readonly Charge[]
  readonly returned: readonly Returned[]
  readonly allowance: ReturnedAllowance | null
  readonly ask: Ask | null
}

/** What an isolate may spend on its own. */
export interface Grant {
  readonly lease: string
  /** UTC day that pays. */
  readonly day: string
  /** Counted from when the isolate asked: how long it may admit requests with this. */
  readonly admitForMs: number
  readonly tokens: Amount
  readonly slots: Amount
  readonly allowance: {
    readonly minute: number
    readonly forMs: number
    readonly requests: Amount
    readonly tokens: Amount
  }
}

export interface Refusal {
  readonly limit: LimitName
  readonly most: number
  readonly left: number
  readonly need: number
  /** null when the demand never fits. */
  readonly retryMs: number | null
}

export interface ExchangeAnswer {
  readonly limits: Limits
  readonly standings: Standings
  /** `over`: the lease is of another day; ask with a new one. */
  readonly outcome:
    | { readonly kind: 'none' }
    | { readonly kind: 'granted'; readonly grant: Grant }
    | { readonly kind: 'refused'; readonly refusal: Refusal }
    | { readonly kind: 'over' }
}
