import { QuartetError } from '../../shared/errors.ts'
import type { LimitRefusal } from './exchange.ts'
import { type LimitName, limitRules } from './limits.ts'

const words: Readonly<Record<LimitName, { readonly name: string; readonly remedy: string }>> = {
  requestsPerMinute: { name: 'requests per minute', remedy: 'send fewer requests' },
  tokensPerMinute: { name: 'tokens per minute', remedy: 'shorten the prompt or lower max_tokens' },
  concurrentRequests: { name: 'requests at the same time', remedy: 'send fewer at once' },
  tokensPerDay: { name: 'tokens per UTC day', remedy: 'lower max_tokens, or ask your operator for more' },
  tokensPerMonth: { name: 'tokens per UTC month', remedy: 'lower max_tokens, or ask your operator for more' },
}

/** Tokens that every request needs: one in the prompt, one to generate. */
export const leastNeed = 2

/** A request that does not fit a limit: which, how much is left, and when to retry. */
export class BudgetRefusal extends QuartetError {
  readonly refusal: LimitRefusal

  constructor(refusal: LimitRefusal) {
    const { left, limit, most, need, room } = refusal
    const { name, remedy } = words[limit]
    const { period, unit } = limitRules[limit]
    const asked =
      unit === 'tokens'
        ? need > leastNeed
          ? `this request may use ${need} (prompt and max_tokens of every choice)`
          : `every request needs ${need} or more`
        : 'this is one more'
    const code = period === 'day' || period === 'month' ? 'budget_exhausted' : 'rate_limited'
    const isFull = `the limit is ${most} ${name}, ${left} left; ${asked}`
    if (room === 'never')
      super('exceeds_limit', `the limit is ${most} ${name}; ${asked}, which never fits: ${remedy}`, {
        param: unit === 'tokens' ? 'max_tokens' : undefined,
      })
    else if (room === 'as requests end')
      super(
        code,
        `${isFull}; what is missing is held for requests that run: retry when some have ended, or ${remedy}`,
      )
    else
      super(code, `${isFull}; retry in ${Math.ceil(room / 1000)} s, or ${remedy}`, {
        retryAfterSeconds: Math.max(1, Math.ceil(room / 1000)),
      })
    this.refusal = refusal
  }
}
