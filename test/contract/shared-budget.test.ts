import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { Budgets } from '../../edge/budgets/budgets.ts'
import { type Limits, noLimits } from '../../edge/budgets/limits.ts'
import { newRequestId, settlementId, TenantId } from '../../shared/ids.ts'
import { accountWith, collect, key } from './isolate-account.ts'

describe('isolates that share a budget', () => {
  const tenant = TenantId.parse('acme')
  const gatherMs = 5_000
  const bound = 2 * gatherMs
  const isolateOf = ({ owner }: ReturnType<typeof accountWith>, limits: Limits) => {
    const budgets = new Budgets({ timeoutMs: 60_000, gatherMs, failed: () => {} })
    const access = { owner, collect, background: () => {} }
    const begin = async (maxTokens: number) => {
      const bound = { model: 'tone', prompts: [10], promptRows: 0, n: 1, maxTokens }
      const requestId = newRequestId()
      const reservation = await budgets.admit({ tenant, key, requestId, bound, limits }, access)
      return () => {
        reservation.settle(0, {
          settlement: settlementId({ requestId, choice: 0, attempt: 0 }),
          node: 'node',
          usage: { promptTokens: 10, completionTokens: 1 },
          countedBy: 'node',
          outcome: 'stop',
          firstTokenMs: 1,
        })
        reservation.close('stop')
        budgets.keep(tenant, access)
      }
    }
    return { begin }
  }
  /** Ten requests a second, one after the other. */
  const load = async (
    isolate: ReturnType<typeof isolateOf>,
    { maxTokens, seconds }: { maxTokens: number; seconds: number },
  ) => {
    for (let i = 0; i < seconds * 10; i++) {
      const end = await isolate.begin(maxTokens)
      await vi.advanceTimersByTimeAsync(100)
      end()
    }
  }

  beforeEach(() => void vi.useFakeTimers({ now: Date.UTC(2026, 10, 24, 12) }))
  afterEach(() => void vi.useRealTimers())

  test.each([
    ['goes idle', 'not at all'],
    ['goes on slowly', 'in short'],
    ['goes on slowly with what runs for long', 'for long'],
  ])('get within two gathering rounds what one holds that %s', async (_how, runs) => {
    const limits = { ...noLimits, tokensPerDay: 40_000 }
    const world = accountWith(limits)
    const [first, second] = [isolateOf(world, limits), isolateOf(world, limits)]
    await load(first, { maxTokens: 90, seconds: 3 })
    const held = world.ledger.held.tokens
    expect(held).toBeGreaterThan(2_000)
    const rest = world.ledger.standings.tokensPerDay?.left ?? 0
    await second.begin(rest - 10)
    await expect(second.begin(held / 2)).rejects.toMatchObject({ code: 'budget_exhausted' })
    for (const until = Date.now() + bound; Date.now() < until; await vi.advanceTimersByTimeAsync(2_000))
      if (runs !== 'not at all')
        await first.begin(10).then((end) => (runs === 'in short' ? end() : undefined))
    await expect(second.begin(held / 2)).resolves.toBeDefined()
  })

  test('leave no place for requests at the same time with one that has fewer of them now', async () => {
    const limits = { ...noLimits, concurrentRequests: 2 }
    const world = accountWith(limits)
    const [first, second] = [isolateOf(world, limits), isolateOf(world, limits)]
    const [one, two] = [await first.begin(10), await first.begin(10)]
    await expect(second.begin(10)).rejects.toMatchObject({ code: 'rate_limited' })
    one()
    // The first isolate goes on with one request after the other.
    let running = two
    for (let from = Date.now(); Date.now() < from + bound; await vi.advanceTimersByTimeAsync(500)) {
      running()
      running = await first.begin(10)
    }
    await expect(second.begin(10)).resolves.toBeDefined()
  })
})
