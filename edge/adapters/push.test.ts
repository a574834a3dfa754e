import { env } from 'cloudflare:workers'
import { beforeAll, beforeEach, expect, test } from 'vitest'
import { TenantId } from '../../shared/ids.ts'
import { nodeTokenKey, verifyNodeToken } from '../../shared/node-token.ts'
import { storeKeys } from '../store/records.ts'
import { stubs, TestEdge, type TestTenant } from '../testing/edge.ts'

let tenant: TestTenant
let edge: TestEdge

beforeAll(async () => {
  await new TestEdge().seedBackbone()
})
beforeEach(async () => {
  edge = new TestEdge()
  tenant = await edge.seedTenant()
  await stubs.behave({ tokens: [97], adapterMissing: true })
})

const kinds = async () => (await stubs.calls()).map(({ kind }) => kind)

test('an adapter that a node lacks is brought to it from KV, and the request goes on', async () => {
  const response = await edge.chat(tenant)
  expect(response.status).toBe(200)
  expect(response.headers.get('x-quartet-retries')).toBe('0')
  expect(await kinds()).toEqual(['generate', 'put-adapter', 'generate'])
  expect((await stubs.calls())[1]?.body).toBe(tenant.adapter.file.length)
})

test('requests that miss the same adapter at once push it once to each node that they go to', async () => {
  await stubs.behave({ tokens: [97], adapterMissing: true, headDelayMs: 50 })
  const responses = await Promise.all(Array.from({ length: 6 }, () => edge.chat(tenant)))
  expect(responses.map(({ status }) => status)).toEqual([200, 200, 200, 200, 200, 200])
  const pushes = await Promise.all(
    stubs.addresses().map(async (node) => {
      const calls = await stubs.callsAt(node)
      return calls.filter(({ kind }) => kind === 'put-adapter').length
    }),
  )
  expect(Math.max(...pushes)).toBe(1)
})

test('each call carries a token for exactly what it does', async () => {
  const response = await edge.chat(tenant)
  const key = nodeTokenKey(env.QUARTET_NODE_SECRET)
  const calls = await stubs.calls()
  const claims = await Promise.all(
    calls.map(({ authorization }) => verifyNodeToken(key, authorization.replace('Bearer ', ''))),
  )
  expect(claims.map(({ act }) => act)).toEqual(['generate', 'put-adapter', 'generate'])
  for (const { adapter, rid, sub } of claims) {
    expect(sub).toBe(tenant.id)
    expect(adapter).toBe(tenant.adapter.digest)
    expect(rid).toBe(response.headers.get('x-request-id'))
  }
  expect(claims[1]?.body).toBe(tenant.adapter.digest)
  expect(new Set(claims.map(({ jti }) => jti)).size).toBe(3)
})

test('an adapter whose bytes KV does not have yet is a 503 to retry', async () => {
  await env.STORE.delete(storeKeys.adapter(TenantId.parse(tenant.id), tenant.adapter.digest))
  const response = await edge.chat(tenant)
  expect(response.status).toBe(503)
  expect(response.headers.get('retry-after')).toBe('5')
})

test('a node that refuses the adapter is not asked again', async () => {
  const [first, second] = stubs.preferredBy(tenant.adapter)
  await stubs.behaveAt(second, { tokens: [97] })
  await stubs.behaveAt(first, {
    tokens: [97],
    adapterMissing: true,
    refusePush: { status: 400, code: 'adapter_invalid' },
  })
  const response = await edge.chat(tenant)
  expect(response.status).toBe(502)
  expect(await response.json()).toMatchObject({ error: { code: 'node_error' } })
  expect(await stubs.callsAt(second)).toEqual([])
})
