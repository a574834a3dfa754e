import { describe, expect, test } from 'vitest'
import { type Limits, noLimits } from '../../edge/budgets/limits.ts'
import { QuartetError } from '../../shared/errors.ts'
import { accountWith, collect } from './isolate-account.ts'

describe('a refusal’s Retry-After is true', () => {
  const full: Record<string, { limits: Limits; requests: number }> = {
    'requests per minute': { limits: { ...noLimits, requestsPerMinute: 2 }, requests: 2 },
    'tokens per minute': { limits: { ...noLimits, tokensPerMinute: 40 }, requests: 2 },
    'requests at the same time': { limits: { ...noLimits, concurrentRequests: 2 }, requests: 2 },
    'tokens per day': { limits: { ...noLimits, tokensPerDay: 40 }, requests: 2 },
    'tokens per month': { limits: { ...noLimits, tokensPerMonth: 40 }, requests: 2 },
    'tokens per minute and requests at the same time': {
      limits: { ...noLimits, tokensPerMinute: 40, concurrentRequests: 2 },
      requests: 2,
    },
  }

  const asked = [
    '2026-11-24T12:00:00Z',
    '2026-11-30T23:58:59.400Z',
    '2026-12-31T23:59:59.999Z',
    '2028-02-28T08:09:10.001Z',
  ]
  const cases = Object.entries(full).flatMap(([limit, of]) => asked.map((at) => [limit, at, of] as const))

  test.each(cases)(
    'whoever waits so long is admitted, and nobody who waits a second less: %s at %s',
    async (_limit, at, { limits, requests }) => {
      for (const isOver of [false, true]) {
        const { account, begin, clock, owner } = accountWith(limits, { at })
        const running = []
        for (let i = 0; i < requests; i++) running.push(await begin(10))
        // All that it may use is used, or it still runs.
        if (isOver) for (const { end } of running) end(10)
        await account.flush({ owner, collect })
        const refused = await begin(10).then(
          () => undefined,
          (thrown: unknown) => thrown,
        )
        if (refused === undefined) continue
        expect(refused).toBeInstanceOf(QuartetError)
        const wait = refused instanceof QuartetError ? refused.retryAfterSeconds : undefined
        if (wait === undefined) {
          // Nobody knows when requests end: one that does makes room at once.
          expect(isOver).toBe(false)
          running[0]?.fail()
          await account.flush({ owner, collect })
        } else {
          clock.now += (wait - 1) * 1_000
          await expect(begin(10)).rejects.toMatchObject({ retryAfterSeconds: 1 })
          clock.now += 1_000
        }
        await expect(begin(10)).resolves.toBeDefined()
      }
    },
  )
})

test('a request that runs over midnight takes nothing of the next day, for which a refusal told to wait', async () => {
  const { account, begin, clock, owner } = accountWith(
    { ...noLimits, tokensPerDay: 40, tokensPerMonth: 40 },
    { at: '2026-11-30T23:59:30Z' },
  )
  const { end } = await begin(10)
  end(10)
  await begin(10)
  await account.flush({ owner, collect })
  await expect(begin(20)).rejects.toMatchObject({ code: 'budget_exhausted', retryAfterSeconds: 30 })
  clock.now += 30_000
  await expect(begin(20)).resolves.toBeDefined()
})
