import type { Grant, Returned, ReturnedAllowance } from './exchange.ts'
import type { Amount } from './limits.ts'

/** The room that one request took from a lease; 0 of what no limit bounds. */
export interface Reserved {
  readonly lease: string
  readonly day: string
  readonly tokens: number
  readonly slots: number
  readonly minute: number
  readonly allowance: { readonly requests: number; readonly tokens: number }
}

export interface LeaseRest {
  readonly tokens: number
  readonly slots: number
  /** Room in the running minute. */
  readonly requests: number
  readonly allowance: number
}

/** A lease is renewed in the background this long before its time ends. */
const renewAheadMs = 10_000

const enough = (amount: Amount, need: number) => amount === null || amount >= need
const less = (amount: Amount, taken: number): Amount => (amount === null ? null : amount - taken)
/** A grant without limit lifts the limit, a grant with one sets it. */
const plus = (amount: Amount, granted: Amount): Amount => (granted === null ? null : (amount ?? 0) + granted)

/** The room that an isolate may spend without asking. Times are milliseconds on the isolate's own clock. */
export class Lease {
  readonly id: string
  readonly bornAt: number
  #day = ''
  #admitUntil = 0
  #tokens: Amount = 0
  #slots: Amount = 0
  #minute = -1
  #minuteEnds = 0
  #requests: Amount = 0
  #allowance: Amount = 0
  /** The room after the last grant. */
  #full: { tokens: Amount; requests: Amount; allowance: Amount } = { tokens: 0, requests: 0, allowance: 0 }

  constructor({ bornAt, id }: { bornAt: number; id: string }) {
    this.id = id
    this.bornAt = bornAt
  }

  /** `askedAt`: when the isolate first asked; the budget's owner counts from later, so the isolate stops first. */
  add({ admitForMs, allowance, day, slots, tokens }: Grant, askedAt: number): void {
    this.#day = day
    this.#admitUntil = Math.max(this.#admitUntil, askedAt + admitForMs)
    this.#tokens = plus(this.#tokens, tokens)
    this.#slots = plus(this.#slots, slots)
    if (allowance.minute >= this.#minute) {
      const isNew = allowance.minute > this.#minute
      this.#minute = allowance.minute
      this.#minuteEnds = askedAt + allowance.forMs
      this.#requests = plus(isNew ? 0 : this.#requests, allowance.requests)
      this.#allowance = plus(isNew ? 0 : this.#allowance, allowance.tokens)
    }
    this.#full = { tokens: this.#tokens, requests: this.#requests, allowance: this.#allowance }
  }

  /** Whether it has room for a request of `need` tokens. */
  has(need: number, now: number): boolean {
    if (now >= this.#admitUntil || !enough(this.#tokens, need) || !enough(this.#slots, 1)) return false
    const isBounded = this.#requests !== null || this.#allowance !== null
    if (isBounded && now >= this.#minuteEnds) return false
    return enough(this.#requests, 1) && enough(this.#allowance, need)
  }

  take(need: number, now: number): Reserved | undefined {
    if (!this.has(need, now)) return undefined
    const reserved: Reserved = {
      lease: this.id,
      day: this.#day,
      tokens: this.#tokens === null ? 0 : need,
      slots: this.#slots === null ? 0 : 1,
      minute: this.#minute,
      allowance: {
        requests: this.#requests === null ? 0 : 1,
        tokens: this.#allowance === null ? 0 : need,
      },
    }
    this.#tokens = less(this.#tokens, need)
    this.#slots = less(this.#slots, 1)
    this.#requests = less(this.#requests, 1)
    this.#allowance = less(this.#allowance, need)
    return reserved
  }

  /** Takes back slots that were reserved here. */
  giveBack(slots: number): void {
    if (this.#slots !== null) this.#slots += slots
  }

  /** Takes back what was not used of a minute's allowance, unless that minute is over. */
  allow(minute: number, tokens: number): void {
    if (minute === this.#minute && this.#allowance !== null) this.#allowance += tokens
  }

  /** Its time ran out: the owner may have taken it back, so what is in it must never be used again. */
  isOver(now: number): boolean {
    return this.#admitUntil > 0 && now >= this.#admitUntil
  }

  /** Whether to ask for more in the background: half is gone, or its time runs out. */
  isLow(now: number): boolean {
    const half = (amount: Amount, full: Amount) => amount !== null && (full === null || amount <= full / 2)
    return (
      now >= this.#admitUntil - renewAheadMs ||
      half(this.#tokens, this.#full.tokens) ||
      half(this.#requests, this.#full.requests) ||
      half(this.#allowance, this.#full.allowance)
    )
  }

  /** The room that it lacks to be as full as `target`; 0 where no limit applies. */
  lacks(target: { readonly requests: number; readonly tokens: number }, now: number) {
    const { allowance, requests, tokens } = this.left(now)
    const lack = (amount: Amount, have: number, want: number) =>
      amount === null ? 0 : Math.max(0, want - have)
    return {
      requests: lack(this.#requests, requests, target.requests),
      tokens: Math.max(
        lack(this.#tokens, tokens, target.tokens),
        lack(this.#allowance, allowance, target.tokens),
      ),
    }
  }

  /** Whether it has anything that someone else may be waiting for. */
  get isEmpty(): boolean {
    return [this.#tokens, this.#slots, this.#requests, this.#allowance].every((amount) => (amount ?? 0) === 0)
  }

  /** The room that requests may still take. */
  left(now: number): LeaseRest {
    const isNow = now < this.#minuteEnds
    const isGood = now < this.#admitUntil
    return {
      tokens: isGood ? (this.#tokens ?? 0) : 0,
      slots: isGood ? (this.#slots ?? 0) : 0,
      requests: isNow ? (this.#requests ?? 0) : 0,
      allowance: isNow ? (this.#allowance ?? 0) : 0,
    }
  }

  /** Empties it, for its parts to go back. */
  drain(): { readonly returned: Returned; readonly allowance: ReturnedAllowance } {
    const drained = {
      returned: { lease: this.id, tokens: this.#tokens ?? 0, slots: this.#slots ?? 0 },
      allowance: { minute: this.#minute, requests: this.#requests ?? 0, tokens: this.#allowance ?? 0 },
    }
    if (this.#tokens !== null) this.#tokens = 0
    if (this.#slots !== null) this.#slots = 0
    if (this.#requests !== null) this.#requests = 0
    if (this.#allowance !== null) this.#allowance = 0
    return drained
  }
}
