const windowSeconds = 10
/** Granted ahead for this long: more than two rounds of telling, so that half of it lasts until the next one fills it up. */
const aheadSeconds = 12
const leastAhead = 8
const mostAhead = 4_096

interface Second {
  readonly at: number
  requests: number
  tokens: number
}

/** How fast a tenant's requests come, over the last seconds. */
export class Pace {
  #seconds: Second[] = []

  count(tokens: number, now: number): void {
    const at = Math.floor(now / 1000)
    const last = this.#seconds.at(-1)
    if (last?.at === at) {
      last.requests += 1
      last.tokens += tokens
      return
    }
    this.#seconds = [
      ...this.#seconds.filter((second) => at - second.at < windowSeconds),
      { at, requests: 1, tokens },
    ]
  }

  /**
   * The requests and tokens to hold ahead at this pace; undefined when only the running second has requests. A burst may
   * end at once, and another isolate may need the tokens that it would strand here.
   */
  ahead(now: number): { readonly requests: number; readonly tokens: number } | undefined {
    const current = Math.floor(now / 1000)
    const past = this.#seconds.filter(({ at }) => at < current && current - at <= windowSeconds)
    const first = past[0]
    if (first === undefined) return undefined
    const requests = past.reduce((sum, second) => sum + second.requests, 0)
    const tokens = past.reduce((sum, second) => sum + second.tokens, 0)
    const perSecond = requests / (current - first.at)
    const ahead = Math.ceil(Math.min(mostAhead, Math.max(leastAhead, perSecond * aheadSeconds)))
    return { requests: ahead, tokens: Math.ceil((ahead * tokens) / requests) }
  }
}
