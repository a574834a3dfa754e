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

/** The same storage, of which some methods fail while `isAway` says so. */
const failing = <T extends object>(storage: T, methods: readonly string[], isAway = () => true): T =>
  new Proxy(storage, {
    get(target, property) {
      const value: unknown = Reflect.get(target, property)
      if (typeof value !== 'function') return value
      if (methods.includes(String(property)) && isAway())
        return () => Promise.reject(new Error('no space left on device'))
      return value.bind(target)
    },
  })

const failingStore = (...methods: string[]) => failing(env.STORE, methods)

/** A bucket that begins uploads in parts and fails as soon as one is stored. */
const bucketWithoutRoom = new Proxy(env.FILES, {
  get(target, property) {
    const value: unknown = Reflect.get(target, property)
    if (property === 'createMultipartUpload')
      return async (key: string) => failing(await target.createMultipartUpload(key), ['uploadPart'])
    return typeof value === 'function' ? value.bind(target) : value
  },
})

/** A file for training that lies in the bucket in one part, or in several. */
function file(isolate: TestEdge, lines = 10): Promise<Response> {
  const line = JSON.stringify({
    messages: [
      { role: 'user', content: 'a'.repeat(10_000) },
      { role: 'assistant', content: 'b' },
    ],
  })
  const form = new FormData()
  form.set('purpose', 'fine-tune')
  form.set('file', new Blob([`${line}\n`.repeat(lines)]), 'a.jsonl')
  return isolate.fetch('/v1/files', {
    method: 'POST',
    headers: { authorization: `Bearer ${tenant.key}` },
    body: form,
  })
}

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
  ['storing files', { FILES: failing(env.FILES, ['put']) }, { 'a file': (at) => file(at) }],
  ['storing parts of files', { FILES: bucketWithoutRoom }, { 'a file of several': (at) => file(at, 1_000) }],
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

describe('while KV is away', () => {
  let isAway: boolean
  let isolate: TestEdge
  beforeEach(async () => {
    isAway = false
    isolate = new TestEdge({
      QUARTET_LOG_LEVEL: 'off',
      STORE: failing(env.STORE, ['get', 'list', 'getWithMetadata'], () => isAway),
    })
    for (const body of [{}, { model: 'tiny' }]) expect((await isolate.chat(tenant, body)).status).toBe(200)
    expect((await isolate.own(tenant, 'GET', '/models')).status).toBe(200)
    isAway = true
  })
  const later = (ms: number) => vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + ms })

  test.each([5_000, 10 * 60_000])(
    'chat of tenants that an isolate knows goes on, %i ms later',
    async (ms) => {
      later(ms)
      expect((await isolate.chat(tenant)).status).toBe(200)
      expect((await isolate.chat(tenant, { model: 'tiny' })).status).toBe(200)
      expect((await isolate.own(tenant, 'GET', '/models')).status).toBe(200)
    },
  )

  test('a revoked key and a suspended tenant stop all the same', async () => {
    await edge.admin('PATCH', `/tenants/${tenant.id}`, { status: 'suspended' })
    later(5_000)
    expect((await isolate.chat(tenant)).status).toBe(403)
    const { keys } = await (await edge.admin('GET', `/tenants/${tenant.id}`)).json<{
      keys: { id: string }[]
    }>()
    for (const { id } of keys) await edge.admin('DELETE', `/tenants/${tenant.id}/keys/${id}`)
    later(10 * 60_000)
    expect((await isolate.chat(tenant)).status).toBe(401)
  })
})

test('a file that cannot be stored leaves no room taken, or gives it back by itself', async () => {
  const noRecords = withCalls(env.TRAINING, (call, method) =>
    method === 'abandonFile' ? Promise.reject(new Error('no space left on device')) : call(),
  )
  const isolate = new TestEdge({
    QUARTET_LOG_LEVEL: 'off',
    FILES: failing(env.FILES, ['put']),
    TRAINING: noRecords,
  })
  await expectUnavailable(file(isolate))
  expect((await file(edge)).status).toBe(200)
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
