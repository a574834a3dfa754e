import { env } from 'cloudflare:workers'
import { beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import type { TenantPolicyChange } from '../../shared/api/policy.ts'
import { type BudgetReport, UsageList, UsageRow } from '../../shared/api/usage.ts'
import { sha256Hex } from '../../shared/digest.ts'
import type { ErrorBody } from '../../shared/errors.ts'
import { HeartbeatResponse } from '../../shared/heartbeat.ts'
import { signHeartbeat } from '../../shared/heartbeat-token.ts'
import { AliasName, newRequestId, settlementId } from '../../shared/ids.ts'
import { nodeTokenKey } from '../../shared/node-token.ts'
import { Settlement } from '../../shared/settlement.ts'
import { GenerateRequest } from '../../shared/wire.ts'
import { readSse, stubs, TestEdge, type TestTenant } from '../../test/edge/edge.ts'
import { nodeStatus } from '../../test/edge/node-status.ts'
import { byteIds } from '../../test/fakes/tiny-tokenizer.ts'
import { maxViewAgeMs } from '../feed/feed-view.ts'

const admin = new TestEdge()
let tenant: TestTenant

beforeAll(() => admin.seedBackbone())
beforeEach(async () => {
  tenant = await admin.seedTenant()
  await stubs.behave({ tokens: byteIds('four'), reason: 'length' })
})

const prompt = 'hello'
/** A test of what one minute allows must not straddle two. */
const farFromNextMinute = async () => {
  const left = 60_000 - (Date.now() % 60_000)
  if (left < 5_000) await new Promise((resolve) => setTimeout(resolve, left + 10))
}
const ask = (edge: TestEdge, body: object = {}, of = tenant) =>
  edge.complete(of, { prompt, max_tokens: 4, ...body })
const limit = async (policy: TenantPolicyChange) => {
  const changed = await admin.admin('PATCH', `/tenants/${tenant.id}`, { policy })
  expect(changed.status).toBe(200)
}
/** A namespace whose only object is that one. */
const namespaceOf = (stub: ReturnType<typeof env.BUDGETS.get>): typeof env.BUDGETS =>
  new Proxy(env.BUDGETS, {
    get(target, name) {
      if (name === 'get') return () => stub
      const value = Reflect.get(target, name)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
/** A tenant's budget as an isolate reaches it that is cut off after its first exchange. */
const answeringOnce = (id: string): typeof env.BUDGETS => {
  const stub = env.BUDGETS.get(env.BUDGETS.idFromName(id))
  let exchanges = 0
  const cutOff = new Proxy(stub, {
    get(target, name) {
      if (name !== 'exchange') return Reflect.get(target, name, target)
      return (exchange: Parameters<typeof stub.exchange>[0]) => {
        exchanges += 1
        return exchanges === 1 ? stub.exchange(exchange) : Promise.reject(new Error('the isolate is gone'))
      }
    },
  })
  return namespaceOf(cutOff)
}
const errorOf = async (response: Response) => (await response.json<ErrorBody>()).error
const budget = async (): Promise<BudgetReport> =>
  (await admin.admin('GET', `/tenants/${tenant.id}/budget`)).json()
const usage = async (): Promise<UsageList> => (await admin.own(tenant, 'GET', '/usage')).json()
const used = async () => {
  const { data } = await usage()
  return {
    requests: data.reduce((sum, { requests }) => sum + requests, 0),
    tokens: data.reduce((sum, { total_tokens }) => sum + total_tokens, 0),
  }
}
/** One such request uses this much, by the stub node's count. */
const tokensEach = async () => {
  const response = await ask(new TestEdge())
  const { usage: counted } = await response.json<{ usage: { total_tokens: number } }>()
  return counted.total_tokens
}
const firstCall = async () => GenerateRequest.parse((await stubs.calls())[0]?.body)
/** A node's settlement of a choice that no isolate has told of. */
const settlementOf = (
  of: string,
  { terms = {}, usage }: { terms?: object; usage?: { promptTokens: number; completionTokens: number } } = {},
): Settlement => {
  const requestId = newRequestId()
  const owed = {
    day: new Date().toISOString().slice(0, 10),
    at: Date.now(),
    lease: null,
    key: 'key_000000000000',
    model: 'tone',
    prompt: 7,
    completion: 20,
  }
  return Settlement.parse({
    id: settlementId({ requestId, choice: 0, attempt: 0 }),
    requestId,
    tenant: of,
    terms: JSON.stringify({ ...owed, ...terms }),
    usage: usage ?? { promptTokens: 7, completionTokens: 9 },
    outcome: 'stop',
    firstTokenMs: 12,
    endedAt: Date.now() - 3_600_000,
  })
}
/** The edge over a budget owner that does not answer. */
const without = (edgeBudgets: typeof env.BUDGETS): typeof env.BUDGETS =>
  new Proxy(edgeBudgets, {
    get(target, name) {
      if (name === 'get') throw new Error('the object is overloaded')
      const value = Reflect.get(target, name)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })

describe('a budget', () => {
  test('is spent by the node’s own counts, and to the last token', async () => {
    const each = await tokensEach()
    const before = (await budget()).spent.day
    await limit({ tokensPerDay: before + 3 * each })
    const edge = new TestEdge()
    for (let i = 0; i < 3; i++) expect((await ask(edge)).status).toBe(200)
    const refused = await ask(edge)
    expect(refused.status).toBe(429)
    expect(await errorOf(refused)).toMatchObject({ code: 'budget_exhausted', type: 'rate_limit_error' })
    expect(await budget()).toMatchObject({ spent: { day: before + 3 * each, month: before + 3 * each } })
  })

  test.each([
    [1, 5 + 4],
    [0.3, 5 - 2 + 4],
    [0, 5 - 4 + 4],
  ])(
    'counts cached prompt tokens by the share %s of the policy, also where a stop string ends the answer',
    async (cachedTokenShare, spent) => {
      const prompt = byteIds('hello')
      await limit({ tokensPerDay: 10_000, cachedTokenShare })
      await stubs.behave({ tokens: byteIds('four'), reason: 'length', cachedTokens: 4 })
      expect((await ask(new TestEdge(), { prompt })).status).toBe(200)
      await expect.poll(async () => (await budget()).spent.day).toBe(spent)
      const row = async () => (await usage()).data[0]
      expect(await row()).toMatchObject({ prompt_tokens: 5, cached_tokens: 4, completion_tokens: 4 })
      await stubs.behave({ tokens: byteIds('four and on'), cachedTokens: 4, delayMs: 5 })
      expect((await ask(new TestEdge(), { prompt, stop: 'r', max_tokens: 50 })).status).toBe(200)
      await expect.poll(used).toMatchObject({ requests: 2 })
      const both = await row()
      expect(both).toMatchObject({ prompt_tokens: 10, cached_tokens: 8 })
      expect((await budget()).spent.day).toBe(2 * (spent - 4) + (both?.completion_tokens ?? 0))
    },
  )

  test('refuses with what is left and when to retry: not before the UTC day ends', async () => {
    const each = await tokensEach()
    await limit({ tokensPerDay: (await budget()).spent.day + each + 2 })
    const edge = new TestEdge()
    await ask(edge)
    const refused = await ask(edge)
    const untilMidnight = (86_400_000 - (Date.now() % 86_400_000)) / 1000
    const retryAfter = Number(refused.headers.get('retry-after'))
    expect(Math.abs(retryAfter - untilMidnight)).toBeLessThan(5)
    expect((await errorOf(refused)).message).toMatch(/tokens per UTC day, 2 left/)
    expect(await stubs.calls()).toHaveLength(2)
  })

  test('refuses at once what never fits, and says what would', async () => {
    await limit({ tokensPerMonth: 100 })
    const refused = await ask(new TestEdge(), { max_tokens: 200 })
    expect(refused.status).toBe(400)
    expect(await errorOf(refused)).toMatchObject({ code: 'exceeds_limit', param: 'max_tokens' })
    expect(refused.headers.get('retry-after')).toBeNull()
  })

  test('reserves the prompt once and max_tokens for each choice', async () => {
    const each = await tokensEach()
    const promptTokens = each - 4
    await limit({ tokensPerDay: (await budget()).spent.day + promptTokens + 3 * 4 })
    expect((await ask(new TestEdge(), { n: 4 })).status).toBe(429)
    expect((await ask(new TestEdge(), { n: 3 })).status).toBe(200)
    expect((await budget()).limits.tokensPerDay?.left).toBe(0)
  })

  test('is the same for every isolate, and gets back what one of them holds idle', async () => {
    const each = await tokensEach()
    const before = (await budget()).spent.day
    await limit({ tokensPerDay: before + 10 * each })
    const isolates = Array.from({ length: 5 }, () => new TestEdge())
    const answers = await Promise.all(Array.from({ length: 25 }, (_, i) => ask(isolates[i % 5] ?? admin)))
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(10)
    expect((await budget()).spent.day).toBe(before + 10 * each)
    expect((await budget()).held.tokens).toBe(0)
  })

  test('survives a restart of its owner in the middle', async () => {
    const each = await tokensEach()
    const before = (await budget()).spent.day
    await limit({ tokensPerDay: before + 4 * each })
    const { abortAllDurableObjects } = await import('cloudflare:test')
    const edge = new TestEdge()
    let answered = 0
    for (let i = 0; i < 6; i++) {
      if ((await ask(edge)).status === 200) answered += 1
      await abortAllDurableObjects()
    }
    expect(answered).toBe(4)
    expect((await budget()).spent.day).toBe(before + 4 * each)
  })
})

test('a lowered limit binds an isolate within the bound of every change, whatever lease it has', async () => {
  await limit({ tokensPerDay: 1_000_000 })
  // It tells of what requests used, and returns what is idle, after this test.
  const isolate = new TestEdge({ QUARTET_GATHER_MS: '7000' })
  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() })
  try {
    // A steady load, for which the isolate gets a lease.
    for (let second = 0; second < 4; second++) {
      expect((await readSse(await ask(isolate, { stream: true }))).at(-1)).toBe('[DONE]')
      vi.setSystemTime(Date.now() + 1_000)
    }
    expect((await budget()).held.tokens).toBeGreaterThan(50)
    await limit({ tokensPerDay: 1 })
    vi.setSystemTime(Date.now() + maxViewAgeMs)
    expect(await errorOf(await ask(isolate))).toMatchObject({ code: 'exceeds_limit' })
  } finally {
    vi.useRealTimers()
  }
})

describe('while the budget’s owner does not answer', () => {
  const broken = () => new TestEdge({ BUDGETS: without(env.BUDGETS) })

  test('a tenant with limits and no lease is told so', async () => {
    await limit({ tokensPerDay: 10_000 })
    const response = await ask(broken())
    expect(response.status).toBe(503)
    expect((await errorOf(response)).code).toBe('control_unavailable')
    expect(response.headers.get('retry-after')).toBeNull()
    expect(await stubs.calls()).toHaveLength(0)
  })

  test('a tenant with limits does not wait for long', async () => {
    await limit({ tokensPerDay: 10_000 })
    const silent = new Proxy(env.BUDGETS.get(env.BUDGETS.idFromName(tenant.id)), {
      get: (target, name) =>
        name === 'exchange' ? () => new Promise(() => {}) : Reflect.get(target, name, target),
    })
    const response = await ask(new TestEdge({ BUDGETS: namespaceOf(silent) }))
    expect((await errorOf(response)).code).toBe('control_unavailable')
  }, 30_000)

  test('a tenant without limits is served', async () => {
    expect((await ask(broken())).status).toBe(200)
  })
})

describe('limits of a minute and of concurrency', () => {
  test('requests beyond those of a minute wait for the next one', async () => {
    await farFromNextMinute()
    await limit({ requestsPerMinute: 2 })
    const edge = new TestEdge()
    const statuses = []
    for (let i = 0; i < 3; i++) statuses.push((await ask(edge)).status)
    expect(statuses).toEqual([200, 200, 429])
    const refused = await ask(edge)
    expect(await errorOf(refused)).toMatchObject({ code: 'rate_limited' })
    expect(Number(refused.headers.get('retry-after'))).toBeLessThanOrEqual(60)
  })

  test('no more requests run at once than are allowed, whichever isolate has them', async () => {
    await limit({ concurrentRequests: 2 })
    await stubs.behave({ tokens: byteIds('four'), delayMs: 100 })
    const answers = await Promise.all([1, 2, 3, 4].map(() => ask(new TestEdge())))
    expect(answers.map(({ status }) => status).toSorted()).toEqual([200, 200, 429, 429])
    expect((await ask(new TestEdge())).status).toBe(200)
  })
})

test.each([
  ['requests per minute', () => ({ requestsPerMinute: 1 })],
  ['tokens per minute', (tokens: number) => ({ tokensPerMinute: tokens })],
  ['tokens per day', (tokens: number) => ({ tokensPerDay: tokens })],
  ['tokens per month', (tokens: number) => ({ tokensPerMonth: tokens })],
])('the Retry-After of a refusal by %s is true to the second', async (_name, policyFor) => {
  const like = await ask(new TestEdge(), {}, await admin.seedTenant())
  const { usage } = await like.json<{ usage: { total_tokens: number } }>()
  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() })
  try {
    vi.setSystemTime(Date.now() - (Date.now() % 60_000) + 70_400)
    await limit(policyFor(usage.total_tokens))
    const isolate = new TestEdge()
    expect((await ask(isolate)).status).toBe(200)
    const refused = await ask(isolate)
    expect(refused.status).toBe(429)
    const seconds = Number(refused.headers.get('retry-after'))
    expect(seconds).toBeGreaterThan(1)
    vi.setSystemTime(Date.now() + 1_000 * (seconds - 1))
    const early = await ask(isolate)
    expect([early.status, early.headers.get('retry-after')]).toEqual([429, '1'])
    vi.setSystemTime(Date.now() + 1_000)
    expect((await ask(isolate)).status).toBe(200)
  } finally {
    vi.useRealTimers()
  }
})

describe('every answer of a tenant with limits', () => {
  test('says how they stand, as OpenAI does', async () => {
    await farFromNextMinute()
    await limit({ requestsPerMinute: 100, tokensPerMinute: 5_000 })
    const { headers } = await ask(new TestEdge())
    expect(headers.get('x-ratelimit-limit-requests')).toBe('100')
    expect(headers.get('x-ratelimit-remaining-requests')).toBe('99')
    expect(headers.get('x-ratelimit-reset-requests')).toMatch(/^([0-9]+s|1m0s|[0-9]+ms)$/)
    expect(headers.get('x-ratelimit-limit-tokens')).toBe('5000')
    expect(Number(headers.get('x-ratelimit-remaining-tokens'))).toBeGreaterThan(4_900)
  })

  test('also a stream, a refusal and a list, and a page in a browser may read it', async () => {
    await farFromNextMinute()
    await limit({ requestsPerMinute: 1 })
    const edge = new TestEdge()
    const stream = await ask(edge, { stream: true })
    expect(stream.headers.get('x-ratelimit-remaining-requests')).toBe('0')
    await stream.text()
    const refused = await ask(edge)
    expect(refused.status).toBe(429)
    expect(refused.headers.get('x-ratelimit-remaining-requests')).toBe('0')
    const list = await edge.fetch('/v1/models', {
      headers: { authorization: `Bearer ${tenant.key}`, origin: 'https://page' },
    })
    expect(list.headers.get('x-ratelimit-limit-requests')).toBe('1')
    expect(list.headers.get('access-control-expose-headers')).toContain('x-ratelimit-remaining-tokens')
  })
})

describe('every refusal of a tenant with limits says how they stand', () => {
  test.each([
    ['404', 'an unknown model', 404, (edge: TestEdge) => ask(edge, { model: 'nobody' })],
    ['404', 'an unknown path', 404, (edge: TestEdge) => edge.own(tenant, 'GET', '/nowhere')],
    ['405', 'an unknown method', 405, (edge: TestEdge) => edge.own(tenant, 'DELETE', '/models')],
    ['403', 'a model that the policy leaves out', 403, (edge: TestEdge) => ask(edge, { model: 'tone' })],
    ['400', 'what is malformed', 400, (edge: TestEdge) => ask(edge, { n: 'many' })],
    ['400', 'what never fits', 400, (edge: TestEdge) => ask(edge, { max_tokens: 400 })],
  ])('%s: %s', async (_status, _what, status, refused) => {
    await limit({
      requestsPerMinute: 100,
      tokensPerDay: 300,
      concurrentRequests: 7,
      aliases: [AliasName.parse('tiny')],
    })
    const response = await refused(new TestEdge())
    expect(response.status).toBe(status)
    expect(response.headers.get('x-ratelimit-limit-requests')).toBe('100')
    expect(response.headers.get('x-ratelimit-limit-tokens')).toBe('300')
    expect(response.headers.get('x-ratelimit-limit-concurrent-requests')).toBe('7')
  })

  test('429: requests at the same time, the only limit', async () => {
    await limit({ concurrentRequests: 1 })
    await stubs.behave({ tokens: byteIds('x'.repeat(100)), delayMs: 20 })
    const isolate = new TestEdge()
    const first = await ask(isolate, { stream: true, max_tokens: 100 })
    const refused = await ask(isolate)
    expect(refused.status).toBe(429)
    // It returns as requests end, and nobody knows when that is.
    expect(refused.headers.get('retry-after')).toBeNull()
    expect(refused.headers.get('x-ratelimit-limit-concurrent-requests')).toBe('1')
    expect(refused.headers.get('x-ratelimit-remaining-concurrent-requests')).toBe('0')
    await first.text()
    const after = await ask(isolate)
    expect(after.status).toBe(200)
    expect(after.headers.get('x-ratelimit-remaining-concurrent-requests')).toBe('1')
  })
})

describe('the charge', () => {
  test('of a client that leaves a stream is what the node ran', async () => {
    await stubs.behave({ tokens: byteIds('x'.repeat(300)), delayMs: 5 })
    const response = await ask(new TestEdge(), { stream: true, max_tokens: 300 })
    const reader = response.body?.getReader()
    await reader?.read()
    await reader?.read()
    await reader?.cancel()
    await expect.poll(async () => (await stubs.calls())[0]?.over).toBe(true)
    const [call] = await stubs.calls()
    await expect.poll(used).toMatchObject({ requests: 1 })
    const { data } = await usage()
    expect(data[0]?.completion_tokens).toBe(call?.sent)
    expect(call?.sent).toBeLessThan(300)
  })

  test('of a stop string is what the node ran until it was stopped', async () => {
    await stubs.behave({ tokens: byteIds('one stop two three'), delayMs: 2 })
    await ask(new TestEdge(), { stop: 'stop', max_tokens: 50 })
    await expect.poll(used).toMatchObject({ requests: 1 })
    const [call] = await stubs.calls()
    expect((await usage()).data[0]?.completion_tokens).toBe(call?.sent)
  })

  test.each([false, true])(
    'of a node that fails midway is its own count, and an error (stream: %s)',
    async (stream) => {
      await stubs.behave({ tokens: byteIds('half done'), failAfter: { tokens: 4, code: 'internal_error' } })
      const answer = await ask(new TestEdge(), { max_tokens: 50, stream })
      await answer.text()
      await expect.poll(used).toMatchObject({ requests: 1 })
      expect((await usage()).data[0]).toMatchObject({ completion_tokens: 4, errors: 1 })
    },
  )

  test.each([1, 2])(
    'of an answer that began again elsewhere is that of the last attempt (n = %i)',
    async (n) => {
      const [dying, other] = stubs.addresses()
      if (dying === undefined || other === undefined) throw new Error('unreachable')
      await stubs.behaveAt(dying, { tokens: byteIds('half done'), delayMs: 5, dieAfter: 4 })
      await stubs.behaveAt(other, { tokens: byteIds('two') })
      const edge = new TestEdge()
      for (let requests = 1; (await stubs.callsAt(dying)).length === 0; requests++)
        expect((await ask(edge, { n })).status, `request ${requests}`).toBe(200)
      const calls = await stubs.callsAt(other)
      const asked = new Set(calls.map(({ body }) => GenerateRequest.parse(body).requestId)).size
      await expect.poll(used).toMatchObject({ requests: asked })
      expect((await usage()).data[0]).toMatchObject({ completion_tokens: 3 * n * asked, errors: 0 })

      // The node that was taken for dead tells what it did.
      const [lost] = (await stubs.callsAt(dying)).map(({ body }) => GenerateRequest.parse(body))
      const told = Settlement.parse({
        ...lost?.settlement,
        requestId: lost?.requestId,
        tenant: tenant.id,
        usage: { promptTokens: lost?.prompt.length, completionTokens: 4 },
        outcome: 'client_closed_request',
        firstTokenMs: 5,
        endedAt: Date.now(),
      })
      const before = await used()
      await env.BUDGETS.get(env.BUDGETS.idFromName(tenant.id)).settle([told])
      expect(await used()).toEqual(before)
    },
  )

  test('of an attempt without a first token is nothing', async () => {
    await stubs.behave({ tokens: [], refuse: { status: 500, code: 'internal_error' } })
    expect((await ask(new TestEdge())).status).toBe(502)
    await expect.poll(used).toEqual({ requests: 1, tokens: 0 })
    expect((await usage()).data[0]?.errors).toBe(1)
  })

  test('counts once, whether the isolate tells it or the node', async () => {
    await ask(new TestEdge())
    await expect.poll(used).toMatchObject({ requests: 1 })
    const before = await used()
    const { requestId, settlement } = await firstCall()
    const told = Settlement.parse({
      ...settlement,
      requestId,
      tenant: tenant.id,
      usage: { promptTokens: 100, completionTokens: 100 },
      outcome: 'stop',
      firstTokenMs: 5,
      endedAt: Date.now() + 600_000,
    })
    const owner = env.BUDGETS.get(env.BUDGETS.idFromName(tenant.id))
    expect(await owner.settle([told, told])).toEqual([told.id, told.id])
    expect(await used()).toEqual(before)
  })

  test('of an isolate that died comes from the node, never more than was reserved', async () => {
    await stubs.behave({ tokens: byteIds('four'), reason: 'length', delayMs: 300 })
    await limit({ tokensPerDay: 1_000 })
    const edge = new TestEdge({ QUARTET_GATHER_MS: '7000' })
    const response = await ask(edge, { stream: true })
    await readSse(response)
    const { prompt: ids, requestId, settlement } = await firstCall()
    const told = Settlement.parse({
      ...settlement,
      requestId,
      tenant: tenant.id,
      usage: { promptTokens: ids.length, completionTokens: 1_000_000 },
      outcome: 'stop',
      firstTokenMs: 5,
      endedAt: 0,
    })
    await env.BUDGETS.get(env.BUDGETS.idFromName(tenant.id)).settle([told])
    expect((await budget()).spent.day).toBe(ids.length + 4)
  })

  test('of an isolate that never told it is no more than was reserved, however much its node claims', async () => {
    await limit({ tokensPerDay: 1_000 })
    const before = await budget()
    const response = await ask(new TestEdge({ BUDGETS: answeringOnce(tenant.id) }))
    expect(response.status).toBe(200)
    const { prompt: ids, requestId, settlement } = await firstCall()
    expect((await budget()).spent).toEqual(before.spent)
    const lie = Settlement.parse({
      ...settlement,
      requestId,
      tenant: tenant.id,
      usage: { promptTokens: ids.length + 1_000, completionTokens: 1_000_000 },
      outcome: 'stop',
      firstTokenMs: 5,
      endedAt: Date.now(),
    })
    await env.BUDGETS.get(env.BUDGETS.idFromName(tenant.id)).settle([lie])
    const reserved = ids.length + 4
    expect((await budget()).spent.day).toBe(before.spent.day + reserved)
    expect(await used()).toEqual({ requests: 1, tokens: reserved })
  })

  test('comes with a node’s heartbeat where no isolate is left to tell it, and the node may then forget it', async () => {
    const settlement = settlementOf(tenant.id)
    const { id } = settlement
    const beat = async (epoch: string, sequence: number) => {
      const status = nodeStatus({ node: 'tells', sequence })
      const body = JSON.stringify({ ...status, settlements: [settlement] })
      const token = await signHeartbeat(nodeTokenKey(env.QUARTET_NODE_SECRET), {
        edge: 'http://edge',
        node: status.node,
        epoch,
        body: await sha256Hex(body),
      })
      const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' }
      const response = await new TestEdge().fetch('/fleet/v1/heartbeat', { method: 'POST', headers, body })
      return HeartbeatResponse.parse(await response.json())
    }
    const { accepted, acknowledged, epoch } = await beat('', 1)
    expect({ accepted, acknowledged }).toEqual({ accepted: false, acknowledged: [] })
    for (const sequence of [2, 3]) expect((await beat(epoch, sequence)).acknowledged).toEqual([id])
    expect(await used()).toEqual({ requests: 1, tokens: 16 })
  })

  test('is told of before long, and once for many requests', async () => {
    const edge = new TestEdge({ QUARTET_GATHER_MS: '400' })
    await limit({ tokensPerDay: 1_000_000, requestsPerMinute: 10_000 })
    for (let i = 0; i < 3; i++) await Promise.all(Array.from({ length: 20 }, () => ask(edge)))
    await expect.poll(used, { timeout: 5_000 }).toMatchObject({ requests: 60 })
  })
})

describe('usage', () => {
  test('is listed by day, key and model, with times to first token', async () => {
    const edge = new TestEdge()
    await ask(edge)
    await ask(edge, { model: 'tone' })
    await expect.poll(used).toMatchObject({ requests: 2 })
    const { data } = await usage()
    expect(data.map(({ model }) => model).toSorted()).toEqual(['tiny', 'tone'])
    for (const row of data) {
      UsageRow.parse(row)
      expect(row).toMatchObject({
        tenant: tenant.id,
        requests: 1,
        errors: 0,
        first_token_ms: { count: 1, p50: expect.any(Number) },
      })
    }
  })

  test('comes as CSV, and in pages', async () => {
    const edge = new TestEdge()
    await ask(edge)
    await ask(edge, { model: 'tone' })
    await expect.poll(used).toMatchObject({ requests: 2 })
    const csv = await edge.own(tenant, 'GET', '/usage?format=csv')
    expect(csv.headers.get('content-type')).toMatch(/^text\/csv/)
    const lines = (await csv.text()).trimEnd().split('\r\n')
    expect(lines[0]).toMatch(/^day,tenant,key,model,requests,errors,prompt_tokens/)
    expect(lines).toHaveLength(3)
    const first: UsageList = await (await edge.own(tenant, 'GET', '/usage?limit=1')).json()
    expect(first).toMatchObject({ has_more: true, data: [{ model: 'tiny' }] })
    const next = `/usage?limit=1&after=${encodeURIComponent(first.last_id ?? '')}`
    const second: UsageList = await (await edge.own(tenant, 'GET', next)).json()
    expect(second).toMatchObject({ has_more: false, data: [{ model: 'tone' }] })
  })

  test.each([
    ['from=yesterday', 'from'],
    ['from=2026-02-30', 'from'],
    ['from=2026-03-02&to=2026-03-01', 'from'],
    ['from=2020-01-01&to=2026-01-01', 'from'],
    ['format=xml', 'format'],
    ['after=nowhere', 'after'],
    ['tenant=other', 'tenant'],
  ])('?%s is refused and names %s', async (query, param) => {
    const response = await admin.own(tenant, 'GET', `/usage?${query}`)
    expect(response.status).toBe(400)
    expect((await errorOf(response)).param).toBe(param)
  })

  test('of other tenants is shown to operators only', async () => {
    await ask(new TestEdge())
    await expect.poll(used).toMatchObject({ requests: 1 })
    const other = await admin.seedTenant()
    const own: UsageList = await (await admin.own(other, 'GET', '/usage')).json()
    expect(own.data).toEqual([])
    const one: UsageList = await (await admin.admin('GET', `/usage?tenant=${tenant.id}`)).json()
    expect(one.data).toHaveLength(1)
    const tenants: string[] = []
    for (let after = ''; ; ) {
      const all = UsageList.parse(await (await admin.admin('GET', `/usage${after}`)).json())
      tenants.push(...all.data.map((row) => row.tenant))
      if (!all.has_more) break
      after = `?after=${encodeURIComponent(all.last_id ?? '')}`
    }
    expect(tenants).toContain(tenant.id)
  })

  test('of all tenants comes in pages that leave out and repeat no row, of deleted tenants neither', async () => {
    const models = ['a', 'b', 'c', 'd', 'e']
    const seeded = [tenant, await admin.seedTenant(), await admin.seedTenant()]
    for (const { id } of seeded)
      await env.BUDGETS.get(env.BUDGETS.idFromName(id)).settle(
        models.map((model) => settlementOf(id, { terms: { model } })),
      )
    expect((await admin.admin('DELETE', `/tenants/${tenant.id}`)).status).toBe(204)
    const pagesOf = async (limit: number) => {
      const pages: UsageList[] = []
      for (let after = ''; ; ) {
        const answer = await admin.admin('GET', `/usage?limit=${limit}${after}`)
        const page = UsageList.parse(await answer.json())
        pages.push(page)
        if (!page.has_more) return pages
        after = `&after=${encodeURIComponent(page.last_id ?? '')}`
      }
    }
    const whole = (await pagesOf(10_000)).flatMap(({ data }) => data)
    for (const { id } of seeded)
      expect(whole.filter((row) => row.tenant === id).map(({ model }) => model)).toEqual(models)
    for (const limit of [2, 3, 5]) {
      const pages = await pagesOf(limit)
      expect(pages.flatMap(({ data }) => data)).toEqual(whole)
      for (const { data } of pages) expect(data.length).toBeLessThanOrEqual(limit)
    }
  })

  test.each(['Nobody', 'acme/2026-11-24', 'acme/a/b', '/a/b/c'])(
    'of all tenants behind %s is refused',
    async (after) => {
      const answer = await admin.admin('GET', `/usage?after=${encodeURIComponent(after)}`)
      expect(answer.status).toBe(400)
      expect((await errorOf(answer)).param).toBe('after')
    },
  )
})

test.each([
  ['requests per minute', () => ({ requestsPerMinute: 1 })],
  ['tokens per minute', (tokens: number) => ({ tokensPerMinute: tokens })],
  ['tokens per day', (tokens: number) => ({ tokensPerDay: tokens })],
])('whoever is over the limit of %s is refused before its body is looked at', async (_name, policyFor) => {
  await farFromNextMinute()
  const like = await ask(new TestEdge(), {}, await admin.seedTenant())
  const { usage } = await like.json<{ usage: { total_tokens: number } }>()
  await limit(policyFor(usage.total_tokens))
  const isolate = new TestEdge()
  expect((await ask(isolate)).status).toBe(200)
  for (const path of ['/v1/completions', '/v1/chat/completions']) {
    const refused = await isolate.post(path, { key: tenant.key, body: '{ no JSON' })
    expect(refused.status).toBe(429)
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0)
  }
  const other = await admin.seedTenant()
  expect((await isolate.post('/v1/completions', { key: other.key, body: '{ no JSON' })).status).toBe(400)
})
