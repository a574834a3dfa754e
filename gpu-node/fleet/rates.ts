import type { Heartbeat } from '../../shared/heartbeat.ts'
import type { EndedRequest, StepReport } from '../engine/reports.ts'

const windowMs = 10_000
const maxEvents = 20_000

interface Event {
  readonly at: number
  readonly tokens: number
  /** Set for the end of a request; null when it gave no token. */
  readonly firstTokenMs?: number | null
}

/** How fast the node worked over the last ten seconds. */
export class Rates {
  readonly #now: () => number
  readonly #startedAt: number
  #events: Event[] = []

  /** `now`: monotonic milliseconds. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now
    this.#startedAt = now()
  }

  stepped({ decodeTokens, jumpTokens }: Pick<StepReport, 'decodeTokens' | 'jumpTokens'>): void {
    const tokens = decodeTokens + jumpTokens
    if (tokens > 0) this.#add({ at: this.#now(), tokens })
  }

  ended({ timings, usage }: Pick<EndedRequest, 'timings' | 'usage'>): void {
    const gaveToken = usage.completionTokens > 0
    // Prefill itself chooses the first token.
    this.#add({
      at: this.#now(),
      tokens: gaveToken ? 1 : 0,
      firstTokenMs: gaveToken ? timings.queueMs + timings.prefillMs : null,
    })
  }

  get current(): Heartbeat['rates'] {
    this.#forget()
    const seconds = Math.max(1, Math.min(windowMs, this.#now() - this.#startedAt) / 1000)
    const ends = this.#events.filter(({ firstTokenMs }) => firstTokenMs !== undefined)
    const firsts = ends.flatMap(({ firstTokenMs }) => firstTokenMs ?? []).sort((a, b) => a - b)
    const quantile = (q: number) => firsts[Math.floor(firsts.length * q)] ?? null
    return {
      tokensPerSecond: this.#events.reduce((sum, { tokens }) => sum + tokens, 0) / seconds,
      requestsPerSecond: ends.length / seconds,
      firstTokenMsP50: quantile(0.5),
      firstTokenMsP95: quantile(0.95),
    }
  }

  #add(event: Event): void {
    this.#events.push(event)
    if (this.#events.length > maxEvents) this.#forget()
  }

  #forget(): void {
    const since = this.#now() - windowMs
    const from = this.#events.findIndex(({ at }) => at >= since)
    this.#events = from === -1 ? [] : this.#events.slice(Math.max(from, this.#events.length - maxEvents))
  }
}
