import { env } from 'cloudflare:workers'
import { afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { sha256Hex } from '../shared/digest.ts'
import { NodeId } from '../shared/heartbeat.ts'
import { signHeartbeat } from '../shared/heartbeat-token.ts'
import { nodeTokenKey } from '../shared/node-token.ts'
import { stubs, TestEdge, type TestTenant } from '../test/edge/edge.ts'
import { nodeStatus } from '../test/edge/node-status.ts'
import { staleStore, unreachable, withCalls } from '../test/edge/stale-store.ts'
import { controlCalls } from './control-calls.ts'
import type { Bindings } from './platform.ts'

const edge = new TestEdge()
let tenant: TestTenant

beforeAll(() => edge.seedBackbone())
beforeEach(async () => {
  tenant = await edge.seedTenant()
  await stubs.behave({ tokens: [97] })
})
afterEach(() => {
  vi.useRealTimers()
})

async function expectUnavailable(answer: Promise<Response>): Promise<void> {
  const response = await answer
  expect(await response.json()).toMatchObject({ error: { code: 'control_unavailable' } })
  expect(response.status).toBe(503)
  // Nobody knows when it answers again.
  expect(response.headers.get('retry-after')).toBeNull()
}

/** KV whose reads, or writes, fail. */
const failingStore = (...failing: string[]) =>
  new Proxy(env.STORE, {
    get(store, property) {
      const value: unknown = Reflect.get(store, property)
      if (typeof value !== 'function') return value
      if (failing.includes(String(property))) return () => Promise.reject(new Error('KV failed: 500'))
      return value.bind(store)
    },
  })

const heartbeat = async (isolate: TestEdge) => {
  const body = JSON.stringify({ ...nodeStatus({ node: 'away' }), settlements: [] })
  const token = await signHeartbeat(nodeTokenKey(env.QUARTET_NODE_SECRET), {
    edge: 'http://edge',
    node: NodeId.parse('away'),
    epoch: 'any',
    body: await sha256Hex(body),
    now: new Date(),
  })
  const headers = { authorization: `Bearer ${token}` }
  return isolate.fetch('/fleet/v1/heartbeat', { method: 'POST', headers, body })
}

const once = (isolate: TestEdge) =>
  isolate.fetch('/admin/v1/tenants', {
    method: 'POST',
    headers: { authorization: `Bearer ${env.QUARTET_ADMIN_KEY}`, 'idempotency-key': 'once' },
    body: '{"id":"never-made"}',
  })

type Ask = (isolate: TestEdge) => Promise<Response>
const away: [what: string, bindings: Partial<Bindings>, asks: Record<string, Ask>][] = [
  [
    'a directory',
    { TENANTS: unreachable(env.TENANTS) },
    {
      'an operator’s look at a tenant': (at) => at.admin('GET', `/tenants/${tenant.id}`),
      'an operator’s change': (at) => at.admin('PATCH', `/tenants/${tenant.id}`, { status: 'active' }),
      'a deployment': (at) => at.own(tenant, 'PUT', '/aliases/tone', { digest: tenant.adapter.digest }),
      'a history': (at) => at.own(tenant, 'GET', '/aliases/tone/history'),
      'an upload': (at) => at.own(tenant, 'POST', '/adapters', tenant.adapter.file),
    },
  ],
  [
    'the change feed',
    { FEED: unreachable(env.FEED) },
    {
      'the list of tenants': (at) => at.admin('GET', '/tenants'),
      'the usage of all': (at) => at.admin('GET', '/usage'),
    },
  ],
  ['the audit log', { AUDIT: unreachable(env.AUDIT) }, { 'reading it': (at) => at.admin('GET', '/audit') }],
  ['an Idempotency-Key’s record', { IDEMPOTENCY: unreachable(env.IDEMPOTENCY) }, { 'a POST': once }],
  [
    'a budget',
    { BUDGETS: unreachable(env.BUDGETS) },
    {
      'an operator’s look at it': (at) => at.admin('GET', `/tenants/${tenant.id}/budget`),
      'the tenant’s usage': (at) => at.own(tenant, 'GET', '/usage'),
    },
  ],
  ['the registry of nodes', { REGISTRY: unreachable(env.REGISTRY) }, { 'a heartbeat': heartbeat }],
  [
    'reading KV',
    { STORE: failingStore('get', 'list') },
    { 'a request': (at) => at.chat(tenant), 'the list of models': (at) => at.own(tenant, 'GET', '/models') },
  ],
  ['the adapter in KV', { STORE: failingStore('getWithMetadata') }, { 'a request that needs it': pushed }],
  ['writing KV', { STORE: failingStore('put') }, { 'an upload': uploaded }],
]

async function pushed(isolate: TestEdge): Promise<Response> {
  await stubs.behave({ tokens: [97], adapterMissing: true })
  return isolate.chat(tenant)
}

async function uploaded(isolate: TestEdge): Promise<Response> {
  await edge.own(tenant, 'DELETE', '/aliases/tone')
  await edge.own(tenant, 'DELETE', `/adapters/${tenant.adapter.digest}`)
  return isolate.own(tenant, 'POST', '/adapters', tenant.adapter.file)
}

describe.each(away)('without %s', (_what, bindings, asks) => {
  test.each(Object.entries(asks))('%s is a 503 to retry', async (_name, ask) => {
    await expectUnavailable(ask(new TestEdge({ QUARTET_LOG_LEVEL: 'off', ...bindings })))
  })
})

test('a request whose tenant changed, where KV is late and the directory away, is a 503 to retry', async () => {
  let isAway = false
  const isolate = new TestEdge({
    QUARTET_LOG_LEVEL: 'off',
    STORE: staleStore(env.STORE),
    TENANTS: withCalls(env.TENANTS, (call) => (isAway ? Promise.reject(new Error('away')) : call())),
  })
  expect((await isolate.chat(tenant)).status).toBe(200)
  await edge.admin('PATCH', `/tenants/${tenant.id}`, { policy: { requestsPerMinute: 1_000 } })
  isAway = true
  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 5_000 })
  await expectUnavailable(isolate.chat(tenant))
})

test('a refusal is data and passes as it is', async () => {
  const refusal = { ok: false, code: 'not_found', message: 'no such thing' }
  const object = controlCalls({ find: async () => refusal, name: 'it' }, 'it')
  expect(await object.find()).toBe(refusal)
  expect(object.name).toBe('it')
})
