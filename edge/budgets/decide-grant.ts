import type { LeaseRequest, LimitRefusal } from './exchange.ts'
import { type Amount, type LimitName, limitNames, limitRules, type Standings } from './limits.ts'

/** How full one limit is. */
export interface LimitLevel {
  readonly limit: number
  /** Spent and held, together. */
  readonly taken: number
  /** The part of `taken` that is held for work that may use less. */
  readonly held: number
  /** null for what returns as requests end. */
  readonly resetMs: number | null
}

/** The limits that are set. */
export type LimitLevels = Readonly<Partial<Record<LimitName, LimitLevel>>>

export interface GrantedAmounts {
  readonly tokens: Amount
  readonly slots: Amount
  readonly allowance: { readonly requests: Amount; readonly tokens: Amount }
}

/** The last part of a limit, which is given out request by request only. */
const reserve = 1 / 4

/** Whether an isolate may hold no more of them than its requests need. */
export const isScarce = (standings: Standings): boolean =>
  Object.values(standings).some(({ left, limit }) => left < limit * reserve)

/** How many times an isolate could get its extra from the room that is left. */
const caution = 4

/**
 * Decides how much of each limit's room an isolate gets. It gets all that its waiting request needs, or nothing. It
 * also gets an extra that shrinks with the room, to zero in the last quarter, so that no request is refused for room
 * that another isolate holds idle.
 */
export function decideGrant(
  levels: LimitLevels,
  { request, holders }: { request: Pick<LeaseRequest, 'need' | 'extra' | 'timeoutMs'>; holders: number },
): { readonly granted: GrantedAmounts } | { readonly refusal: LimitRefusal } {
  const refusals: LimitRefusal[] = []
  const granted: Partial<Record<LimitName, number>> = {}
  for (const name of limitNames) {
    const room = levels[name]
    if (room === undefined) continue
    const { unit } = limitRules[name]
    const need = request.need === null ? 0 : unit === 'tokens' ? request.need : 1
    const left = room.limit - room.taken
    if (request.need !== null && need > left) refusals.push(refusalOf(name, { room, need }))
    const spare = Math.floor((left - need - room.limit * reserve) / (caution * Math.max(1, holders)))
    granted[name] = need + Math.max(0, Math.min(request.extra[unit], spare))
  }
  const refusal = refusals.toSorted((a, b) => waitMs(b, request.timeoutMs) - waitMs(a, request.timeoutMs))[0]
  if (refusal !== undefined) return { refusal }
  return {
    granted: {
      tokens: least(granted.tokensPerDay, granted.tokensPerMonth),
      slots: granted.concurrentRequests ?? null,
      allowance: {
        requests: granted.requestsPerMinute ?? null,
        tokens: granted.tokensPerMinute ?? null,
      },
    },
  }
}

function refusalOf(limit: LimitName, { need, room }: { room: LimitLevel; need: number }): LimitRefusal {
  const most = room.limit
  const left = Math.max(0, most - room.taken)
  const isHeld = need <= most - (room.taken - room.held)
  const when = need > most ? 'never' : isHeld || room.resetMs === null ? 'as requests end' : room.resetMs
  return { limit, most, left, need, room: when }
}

/** A request is cut off within this long after its timeout. */
const cutOffMs = 2_000

/** How long a refusal may stand: the end of a request is unknown, but each has ended after its timeout. */
function waitMs({ room }: LimitRefusal, timeoutMs: number): number {
  if (room === 'never') return Number.POSITIVE_INFINITY
  return room === 'as requests end' ? timeoutMs + cutOffMs : room
}

function least(a: number | undefined, b: number | undefined): Amount {
  if (a === undefined) return b ?? null
  return b === undefined ? a : Math.min(a, b)
}
