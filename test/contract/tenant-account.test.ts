import { describe, expect, test } from 'vitest'
import { boundTokens } from '../../edge/budgets/admission.ts'
import { noLimits } from '../../edge/budgets/limits.ts'
import { AccountReservation } from '../../edge/budgets/reservation.ts'
import { readUsage } from '../../edge/budgets/usage-table.ts'
import { newRequestId, settlementId } from '../../shared/ids.ts'
import { accountWith, collect, key } from './isolate-account.ts'

describe('an isolate’s account', () => {
  test('needs less than one call in fifty requests at a steady load, with every limit set', async () => {
    const { account, clock, ledger, owner, request } = accountWith({
      requestsPerMinute: 60_000,
      tokensPerMinute: 10_000_000,
      concurrentRequests: 100,
      tokensPerDay: 100_000_000,
      tokensPerMonth: 1_000_000_000,
    })
    for (let warmUp = 0; warmUp < 200; warmUp++, clock.now += 20) await request()
    owner.calls = 0
    const requests = 6_000
    for (let i = 0; i < requests; i++, clock.now += 20) {
      await request()
      if (account.pending >= 256) await account.flush({ owner, collect })
    }
    expect(owner.calls / requests).toBeLessThan(1 / 50)
    await account.flush({ owner, collect })
    expect(ledger.spent('2026-11-24')).toBe(6_200 * 15)
  })

  test('goes on with its lease while the owner is down, and loses no charge', async () => {
    const { account, clock, ledger, owner, request } = accountWith({ ...noLimits, tokensPerDay: 1_000_000 })
    for (let i = 0; i < 200; i++, clock.now += 20) await request()
    owner.fails = true
    for (let i = 0; i < 20; i++, clock.now += 20) await request()
    await account.flush({ owner, collect }).catch(() => undefined)
    owner.fails = false
    await account.flush({ owner, collect })
    expect(ledger.spent('2026-11-24')).toBe(220 * 15)
  })

  test('returns tokens once, however often it has to say so', async () => {
    const { account, begin, ledger, owner, request } = accountWith({ ...noLimits, tokensPerDay: 100 })
    const { end } = await begin(60)
    await request()
    owner.losesAnswers = true
    for (let i = 0; i < 3; i++) await account.flush({ owner, collect }).catch(() => undefined)
    expect(ledger.held.tokens).toBe(70)
    expect(ledger.standings.tokensPerDay?.left).toBe(100 - 70 - 15)
    owner.losesAnswers = false
    await account.flush({ owner, collect })
    end(5)
    await account.flush({ owner, collect })
    expect(ledger.held.tokens).toBe(0)
    expect(ledger.standings.tokensPerDay?.left).toBe(100 - 15 - 15)
  })

  test('gives what a request left over to no other before the owner has its charge: it may crash first', async () => {
    const { begin, ledger } = accountWith({ ...noLimits, tokensPerDay: 100 })
    const first = await begin(90)
    // The isolate says that it failed, which costs nothing; its node had generated 45 tokens.
    first.fail()
    const second = begin(90).catch(() => undefined)
    // The nodes tell what they ran, however much the isolate had told when it crashed.
    const told = [first, await second].flatMap((each, i) => (each ? [each.settledBy(i === 0 ? 45 : 90)] : []))
    ledger.settle(told)
    expect(ledger.spent('2026-11-24')).toBeLessThanOrEqual(100)
    ledger.settle(told)
    expect(ledger.spent('2026-11-24')).toBe(100)
  })

  test('without a lease and without the owner says so', async () => {
    const { owner, request } = accountWith({ ...noLimits, tokensPerDay: 1_000_000 })
    owner.fails = true
    await expect(request()).rejects.toMatchObject({ code: 'control_unavailable' })
  })

  test('of a tenant whose record is late learns the limits from the owner', async () => {
    const { account, ledger, owner, request } = accountWith(noLimits)
    await request()
    expect(owner.calls).toBe(0)
    ledger.setLimits({ ...noLimits, tokensPerDay: 20 })
    await account.flush({ owner, collect })
    expect(account.isLimited(noLimits)).toBe(true)
    await expect(request()).rejects.toMatchObject({ code: 'budget_exhausted' })
  })

  test('gives back what it holds when nothing comes', async () => {
    const { account, clock, ledger, owner, request } = accountWith({ ...noLimits, tokensPerDay: 1_000_000 })
    for (let i = 0; i < 200; i++, clock.now += 20) await request()
    expect(ledger.held.tokens).toBeGreaterThan(0)
    account.release()
    await account.flush({ owner, collect })
    expect(ledger.held.tokens).toBe(0)
    expect(account.isSettled).toBe(true)
  })
})

test('a lease is used no further once the tenant’s record has other limits, lower or higher', async () => {
  const before = { ...noLimits, tokensPerDay: 1_000_000 }
  const { account, clock, ledger, owner, request } = accountWith(before)
  for (let i = 0; i < 200; i++, clock.now += 20) await request()
  expect(ledger.held.tokens).toBeGreaterThan(1_000)
  const lower = { ...noLimits, tokensPerDay: 2_000 }
  ledger.setLimits(lower)
  account.applyLimits(lower)
  await expect(request()).rejects.toMatchObject({ code: 'budget_exhausted' })
  ledger.setLimits(before)
  account.applyLimits(before)
  await expect(request()).resolves.toBeUndefined()
  // While the record is late the owner's word counts, request by request.
  ledger.setLimits(lower)
  await account.flush({ owner, collect })
  account.applyLimits(before)
  await expect(request()).rejects.toMatchObject({ code: 'budget_exhausted' })
})

test('an adapter’s prompt rows are reserved and charged like the tokens of the prompt', async () => {
  const { account, clock, ledger, owner } = accountWith({ ...noLimits, tokensPerDay: 2_000 })
  const bound = { model: 'tone', prompts: [10], promptRows: 512, n: 2, maxTokens: 20 }
  expect(boundTokens(bound)).toBe(512 + 10 + 2 * 20)
  const reserved = await account.admit(boundTokens(bound), owner)
  const requestId = newRequestId()
  const reservation = new AccountReservation({ account, reserved, bound, key, requestId, at: clock.now })
  const usage = { promptTokens: 10, promptRows: 512, completionTokens: 5 }
  const use = { node: 'node', usage, countedBy: 'node' as const, outcome: 'stop', firstTokenMs: 1 }
  for (const choice of [0, 1])
    reservation.settle(choice, { ...use, settlement: settlementId({ requestId, choice, attempt: 0 }) })
  reservation.close('stop')
  account.release()
  await account.flush({ owner, collect })
  expect([ledger.spent('2026-11-24'), ledger.held.tokens]).toEqual([512 + 10 + 2 * 5, 0])
})

test.each(['queue_full', 'context_length_exceeded', 'grammar_invalid'])(
  'a request that nodes refused before any work (%s) is none, and no error',
  async (code) => {
    const { account, begin, ledger, owner, sql } = accountWith({ ...noLimits, tokensPerDay: 1_000 })
    const { refuse } = await begin()
    refuse(code)
    account.release()
    await account.flush({ owner, collect })
    const range = { from: '2026-11-24', to: '2026-11-24', after: null, limit: 10, of: 'tenant' as const }
    expect(readUsage(sql, range)).toEqual([])
    expect(ledger.held.tokens).toBe(0)
  },
)
