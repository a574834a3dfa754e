import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { boundTokens } from '../../edge/budgets/admission.ts'
import { Budgets } from '../../edge/budgets/budgets.ts'
import type { Exchange, ExchangeAnswer } from '../../edge/budgets/exchange.ts'
import { Ledger } from '../../edge/budgets/ledger.ts'
import { type Limits, noLimits } from '../../edge/budgets/limits.ts'
import { AccountReservation } from '../../edge/budgets/reservation.ts'
import { TenantAccount } from '../../edge/budgets/tenant-account.ts'
import { readUsage } from '../../edge/budgets/usage-table.ts'
import { QuartetError } from '../../shared/errors.ts'
import { KeyId, newRequestId, settlementId, TenantId } from '../../shared/ids.ts'
import type { Settlement } from '../../shared/settlement.ts'
import { memorySql } from '../fakes/memory-sql.ts'

const key = KeyId.parse('key_000000000000')
const collect = async () => ({ settlements: [], running: [] })

function setUp(limits: Limits, { at = '2026-11-24T12:00:00Z' } = {}) {
  const clock = { now: Date.parse(at) }
  const sql = memorySql()
  const ledger = new Ledger(sql, () => clock.now)
  ledger.setLimits(limits)
  const owner = {
    calls: 0,
    fails: false,
    losesAnswers: false,
    async exchange(exchange: Exchange): Promise<ExchangeAnswer> {
      owner.calls += 1
      if (owner.fails) throw new Error('down')
      const answer = ledger.exchange(exchange)
      if (owner.losesAnswers) throw new Error('lost')
      return answer
    },
  }
  const account = new TenantAccount({
    holder: crypto.randomUUID(),
    timeoutMs: 60_000,
    now: () => clock.now,
    newId: () => crypto.randomUUID(),
  })
  /** A request of a prompt of 10 tokens; it runs until it is ended. */
  const begin = async (maxTokens = 10) => {
    const bound = { model: 'tone', prompts: [10], promptRows: 0, n: 1, maxTokens }
    const reserved = account.isLimited(limits)
      ? await account.admit(10 + maxTokens, owner)
      : account.admitFreely()
    const requestId = newRequestId()
    const reservation = new AccountReservation({ account, reserved, bound, key, requestId, at: clock.now })
    const settlement = settlementId({ requestId, choice: 0, attempt: 0 })
    const told = { outcome: 'stop', firstTokenMs: 1 }
    const used = (completionTokens: number) => ({ promptTokens: 10, completionTokens })
    return {
      fail: () => reservation.close('node_error'),
      refuse: (code: string) => reservation.close(code),
      end(completionTokens: number) {
        const usage = used(completionTokens)
        reservation.settle(0, { ...told, settlement, node: 'node', usage, countedBy: 'node' })
        reservation.close('stop')
      },
      /** The settlement that its node sends of its own accord. */
      settledBy: (completionTokens: number): Settlement => ({
        ...told,
        id: settlement,
        requestId,
        tenant: TenantId.parse('acme'),
        terms: reservation.terms(0),
        usage: used(completionTokens),
        endedAt: clock.now,
      }),
    }
  }
  /** One request that uses 15 of the 20 tokens it may use. */
  const request = async () => {
    const { end } = await begin()
    if (account.wantsRenewal) await account.renew(owner)
    end(5)
  }
  return { account, begin, clock, ledger, owner, request, sql }
}

describe('an isolate’s account', () => {
  test('needs less than one call in fifty requests at a steady load, with every limit set', async () => {
    const { account, clock, ledger, owner, request } = setUp({
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
    const { account, clock, ledger, owner, request } = setUp({ ...noLimits, tokensPerDay: 1_000_000 })
    for (let i = 0; i < 200; i++, clock.now += 20) await request()
    owner.fails = true
    for (let i = 0; i < 20; i++, clock.now += 20) await request()
    await account.flush({ owner, collect }).catch(() => undefined)
    owner.fails = false
    await account.flush({ owner, collect })
    expect(ledger.spent('2026-11-24')).toBe(220 * 15)
  })

  test('returns tokens once, however often it has to say so', async () => {
    const { account, begin, ledger, owner, request } = setUp({ ...noLimits, tokensPerDay: 100 })
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
    const { begin, ledger } = setUp({ ...noLimits, tokensPerDay: 100 })
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
    const { owner, request } = setUp({ ...noLimits, tokensPerDay: 1_000_000 })
    owner.fails = true
    await expect(request()).rejects.toMatchObject({ code: 'control_unavailable' })
  })

  test('of a tenant whose record is late learns the limits from the owner', async () => {
    const { account, ledger, owner, request } = setUp(noLimits)
    await request()
    expect(owner.calls).toBe(0)
    ledger.setLimits({ ...noLimits, tokensPerDay: 20 })
    await account.flush({ owner, collect })
    expect(account.isLimited(noLimits)).toBe(true)
    await expect(request()).rejects.toMatchObject({ code: 'budget_exhausted' })
  })

  test('gives back what it holds when nothing comes', async () => {
    const { account, clock, ledger, owner, request } = setUp({ ...noLimits, tokensPerDay: 1_000_000 })
    for (let i = 0; i < 200; i++, clock.now += 20) await request()
    expect(ledger.held.tokens).toBeGreaterThan(0)
    account.release()
    await account.flush({ owner, collect })
    expect(ledger.held.tokens).toBe(0)
    expect(account.isSettled).toBe(true)
  })
})

describe('isolates that share a budget', () => {
  const tenant = TenantId.parse('acme')
  const gatherMs = 5_000
  const bound = 2 * gatherMs
  const isolateOf = ({ owner }: ReturnType<typeof setUp>, limits: Limits) => {
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
    const world = setUp(limits)
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
    const world = setUp(limits)
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

test('a lease is used no further once the tenant’s record has other limits, lower or higher', async () => {
  const before = { ...noLimits, tokensPerDay: 1_000_000 }
  const { account, clock, ledger, owner, request } = setUp(before)
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

test('the usage of a request is told though its node died and no other request comes; the node’s word still counts', async () => {
  vi.useFakeTimers({ now: Date.UTC(2026, 10, 24, 12) })
  try {
    const { ledger, owner } = setUp({ ...noLimits, tokensPerDay: 1_000 })
    const budgets = new Budgets({ timeoutMs: 60_000, gatherMs: 5_000, failed: () => {} })
    const collectFromDead = () => Promise.reject(new Error('unreachable'))
    const access = { owner, collect: collectFromDead, background: () => {} }
    const tenant = TenantId.parse('acme')
    const requestId = newRequestId()
    const id = settlementId({ requestId, choice: 0, attempt: 0 })
    const limits = { ...noLimits, tokensPerDay: 1_000 }
    const bound = { model: 'tone', prompts: [10], promptRows: 0, n: 1, maxTokens: 10 }
    const reservation = await budgets.admit({ tenant, key, requestId, bound, limits }, access)
    await vi.advanceTimersByTimeAsync(8_000)
    const seen = { promptTokens: 10, completionTokens: 3 }
    const use = { settlement: id, node: 'node', usage: seen, outcome: 'node_error', firstTokenMs: 1 }
    reservation.settle(0, { ...use, countedBy: 'edge' })
    reservation.close('node_error')
    budgets.keep(tenant, access)
    await vi.advanceTimersByTimeAsync(20_000)
    expect(ledger.spent('2026-11')).toBe(13)
    expect(budgets.acknowledgements(tenant, { node: 'node', most: 10 })).toEqual([])
    const { settlement: _, node: __, ...told } = use
    const nothing = { promptTokens: 10, completionTokens: 0 }
    const lost = settlementId({ requestId, choice: 0, attempt: 1 })
    const usage = { promptTokens: 10, completionTokens: 5 }
    const written = reservation.terms(0)
    const settlement = { ...told, requestId, tenant, terms: written, endedAt: Date.now() }
    ledger.settle([{ ...settlement, id: lost, usage: nothing }])
    expect(ledger.spent('2026-11')).toBe(13)
    ledger.settle([{ ...settlement, id, usage }])
    expect(ledger.spent('2026-11')).toBe(15)
  } finally {
    vi.useRealTimers()
  }
})

test('the isolate’s count for a node that died is charged though another node told before of an attempt that lost', async () => {
  const { account, ledger, owner, clock } = setUp(noLimits)
  const requestId = newRequestId()
  const bound = { model: 'tone', prompts: [10], promptRows: 0, n: 1, maxTokens: 10 }
  const reserved = account.admitFreely()
  const reservation = new AccountReservation({ account, reserved, bound, key, requestId, at: clock.now })
  const told = { requestId, tenant: TenantId.parse('acme'), terms: reservation.terms(0), firstTokenMs: null }
  const id = (attempt: number) => settlementId({ requestId, choice: 0, attempt })
  const nothing = { promptTokens: 10, completionTokens: 0 }
  ledger.settle([
    { ...told, id: id(1), usage: nothing, outcome: 'client_closed_request', endedAt: clock.now },
  ])
  expect(ledger.spent('2026-11')).toBe(0)
  const usage = { promptTokens: 10, completionTokens: 1 }
  const use = { settlement: id(0), node: 'dead', usage, outcome: 'node_error', firstTokenMs: 1 }
  reservation.settle(0, { ...use, countedBy: 'edge' })
  reservation.close('node_error')
  await account.flush({ owner, collect: () => Promise.reject(new Error('unreachable')), isLast: true })
  expect(ledger.spent('2026-11')).toBe(11)
})

describe('a node that dies', () => {
  const unreachable = () => Promise.reject(new Error('unreachable'))
  const day = '2026-11-24'

  /** A stream of at most 300 tokens whose node is killed after 7 of them. */
  const killed = async (limits: Limits) => {
    const world = setUp(limits)
    const { account, clock, owner } = world
    const bound = { model: 'tone', prompts: [10], promptRows: 0, n: 1, maxTokens: 300 }
    const reserved = await account.admit(310, owner)
    const requestId = newRequestId()
    const reservation = new AccountReservation({ account, reserved, bound, key, requestId, at: clock.now })
    const settlement = settlementId({ requestId, choice: 0, attempt: 0 })
    const told = { outcome: 'node_error', firstTokenMs: 1 }
    const usage = { promptTokens: 10, completionTokens: 7 }
    reservation.settle(0, { ...told, settlement, node: 'dead', usage, countedBy: 'edge' })
    reservation.close('node_error')
    const late = (completionTokens: number): Settlement => ({
      ...told,
      id: settlement,
      requestId,
      tenant: TenantId.parse('acme'),
      terms: reservation.terms(0),
      usage: { promptTokens: 10, completionTokens },
      endedAt: clock.now,
    })
    return { ...world, late }
  }

  test('frees what its request left unspent with the first round of telling', async () => {
    const { account, ledger, owner } = await killed({ ...noLimits, tokensPerDay: 1_000 })
    account.release()
    await account.flush({ owner, collect: unreachable })
    expect(ledger.held.tokens).toBe(0)
    expect(ledger.spent(day)).toBe(17)
  })

  test('and comes back with a higher count corrects it, but never beyond the limit', async () => {
    const { account, begin, ledger, late, owner } = await killed({ ...noLimits, tokensPerDay: 400 })
    account.release()
    await account.flush({ owner, collect: unreachable })
    await begin(360)
    ledger.settle([late(20)])
    expect([ledger.spent(day), ledger.held.tokens]).toEqual([30, 370])
    ledger.settle([late(300)])
    expect([ledger.spent(day), ledger.held.tokens]).toEqual([30, 370])
  })

  test('and is asked again tells its own count in the end', async () => {
    const { account, ledger, late, owner } = await killed({ ...noLimits, tokensPerDay: 1_000 })
    account.release()
    await account.flush({ owner, collect: unreachable })
    await account.flush({ owner, collect: async () => ({ settlements: [late(20)], running: [] }) })
    expect([ledger.spent(day), ledger.held.tokens]).toEqual([30, 0])
  })
})

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
        const { account, begin, clock, owner } = setUp(limits, { at })
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
  const { account, begin, clock, owner } = setUp(
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

test('an adapter’s prompt rows are reserved and charged like the tokens of the prompt', async () => {
  const { account, clock, ledger, owner } = setUp({ ...noLimits, tokensPerDay: 2_000 })
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
    const { account, begin, ledger, owner, sql } = setUp({ ...noLimits, tokensPerDay: 1_000 })
    const { refuse } = await begin()
    refuse(code)
    account.release()
    await account.flush({ owner, collect })
    const range = { from: '2026-11-24', to: '2026-11-24', after: null, limit: 10, of: 'tenant' as const }
    expect(readUsage(sql, range)).toEqual([])
    expect(ledger.held.tokens).toBe(0)
  },
)
