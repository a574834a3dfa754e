import { z } from 'zod'
import type { SettlementId } from '../../shared/ids.ts'
import type { Usage } from '../../shared/wire.ts'
import { type ChargeTerms, payable, tokensIn } from './charge-terms.ts'
import { Amount, LimitName, Limits, Standings } from './limits.ts'

/** The messages between isolates and a tenant's budget. Durations, never points in time: clocks may differ. */

/** An exchange is not repeated later than this. */
export const exchangeRetryMs = 60_000

/** The charge of one choice of a request. */
export interface Charge {
  /** The settlement of the attempt that served the choice. A choice is charged once, however often it is told. */
  readonly id: SettlementId
  readonly terms: ChargeTerms
  readonly usage: Usage
  /** `stop`, `length` or an error code. */
  readonly outcome: string
  readonly firstTokenMs: number | null
  /** `node`: the node's own count. `edge`: the edge's count, because the node's is lost. */
  readonly countedBy: 'node' | 'edge'
}

/** Tokens that an isolate's charge takes of the limits. */
export const tokensOfCharge = ({ terms, outcome, usage }: Charge): number =>
  tokensIn(payable(terms, usage, { leftByClient: outcome === 'client_closed_request', outcome }), terms)

/** Parts of a lease that no request took. */
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

export interface LeaseRequest {
  /** The isolate. */
  readonly holder: string
  readonly lease: string
  /** Tokens that a waiting request may use at most; null when none waits. */
  readonly need: number | null
  /** The isolate would like this beyond it, so as not to ask for each request. */
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
  readonly request: LeaseRequest | null
}

/** The room that an isolate may spend on its own. */
const Grant = z.object({
  lease: z.string(),
  /** UTC day that pays. */
  day: z.string(),
  /** Counted from when the isolate asked: how long it may admit requests with this. */
  admitForMs: z.number(),
  tokens: Amount,
  slots: Amount,
  allowance: z.object({ minute: z.number(), forMs: z.number(), requests: Amount, tokens: Amount }),
})
export type Grant = Readonly<z.infer<typeof Grant>>

const LimitRefusal = z.object({
  limit: LimitName,
  most: z.number(),
  left: z.number(),
  need: z.number(),
  /** When there is room: after a number of milliseconds, once running requests have ended, or never. */
  room: z.union([z.number(), z.literal('as requests end'), z.literal('never')]),
})
export type LimitRefusal = Readonly<z.infer<typeof LimitRefusal>>

/** Kept by the budget, so that an exchange sent twice is answered the same. */
export const ExchangeAnswer = z.object({
  limits: Limits,
  standings: Standings,
  outcome: z.discriminatedUnion('kind', [
    z.object({ kind: z.literal('none') }),
    z.object({ kind: z.literal('granted'), grant: Grant }),
    z.object({ kind: z.literal('refused'), refusal: LimitRefusal }),
    /** The lease is of another day; ask with a new one. */
    z.object({ kind: z.literal('over') }),
  ]),
})
export type ExchangeAnswer = Readonly<z.infer<typeof ExchangeAnswer>>
