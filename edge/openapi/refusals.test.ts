import { env } from 'cloudflare:workers'
import { beforeAll, beforeEach, expect, test } from 'vitest'
import { describedCalls } from '../../test/edge/described-calls.ts'
import { stubs, TestEdge, type TestTenant } from '../../test/edge/edge.ts'
import { unreachable } from '../../test/edge/stale-store.ts'
import { byteIds } from '../../test/fakes/tiny-tokenizer.ts'

/** Refusals of many kinds, held to the document. */

const edge = new TestEdge({ QUARTET_LOG_LEVEL: 'off' })
const { asked } = describedCalls(edge)
let tenant: TestTenant

beforeAll(() => edge.seedBackbone())
beforeEach(async () => {
  tenant = await edge.seedTenant()
  await stubs.behave({ tokens: byteIds('Hello'), logprob: -0.5 })
})

const admin = (method: string, path: string, body: unknown) =>
  asked({ method, path: `/admin/v1${path}`, key: env.QUARTET_ADMIN_KEY, body })
const own = (method: string, path: string, body: unknown) =>
  asked({ method, path: `/v1${path}`, key: tenant.key, body })
const chat = { model: 'tone', messages: [{ role: 'user', content: 'hello' }] }

test('refusals are described with all that they carry', async () => {
  await admin('PATCH', `/tenants/${tenant.id}`, { policy: { requestsPerMinute: 1 } })
  await own('POST', '/chat/completions', chat)
  const limited = await own('POST', '/chat/completions', chat)
  expect(limited.status).toBe(429)
  expect(Number(limited.headers.get('retry-after'))).toBeGreaterThan(0)
  expect(limited.headers.get('x-ratelimit-limit-requests')).toBe('1')
  const wrong = await asked({ path: '/v1/models', key: 'qk_wrong' })
  expect(wrong.headers.get('www-authenticate')).toBe('Bearer')
  expect((await asked({ path: '/admin/v1/tenants', key: 'wrong' })).status).toBe(401)
  for (const body of ['{', [], { ...chat, tools: [{}] }, { ...chat, model: 'nobody' }, { ...chat, n: 9 }])
    expect((await own('POST', '/chat/completions', body)).status).toBeGreaterThanOrEqual(400)
  const isolate = new TestEdge({ TENANTS: unreachable(env.TENANTS), QUARTET_LOG_LEVEL: 'off' })
  for (const [method, path] of [
    ['GET', `/admin/v1/tenants/${tenant.id}`],
    ['DELETE', '/v1/aliases/tone'],
  ] as const) {
    const key = path.startsWith('/v1') ? tenant.key : env.QUARTET_ADMIN_KEY
    const away = await asked({ method, path, key, isolate })
    expect(away.status).toBe(503)
  }
})

test('every answer tells browsers to take it as what it says it is, a refusal that no operation made too', async () => {
  const broken = new TestEdge({ QUARTET_ADMIN_KEY: 'short', QUARTET_LOG_LEVEL: 'off' })
  const told = [
    await edge.fetch('/nowhere'),
    await edge.fetch('/v1/nowhere', { headers: { authorization: `Bearer ${tenant.key}` } }),
    await edge.fetch('/health', { method: 'DELETE' }),
    await edge.fetch('/v1/models'),
    await edge.fetch('/fleet/v1/heartbeat', { method: 'POST', body: '{' }),
    await broken.fetch('/health'),
  ]
  expect(told.map(({ status }) => status)).toEqual([404, 404, 405, 401, 401, 500])
  for (const { headers, status } of told)
    expect(headers.get('x-content-type-options'), String(status)).toBe('nosniff')
})
