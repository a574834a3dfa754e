import { env } from 'cloudflare:workers'
import { beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { NodeId } from '../../shared/heartbeat.ts'
import { TenantId } from '../../shared/ids.ts'
import { type NodeTokenClaims, nodeTokenKey, verifyNodeToken } from '../../shared/node-token.ts'
import { pushTimeoutMs } from '../../shared/wire.ts'
import { makeAdapter } from '../../test/edge/adapter.ts'
import { errorOf, stubs, TestEdge, type TestTenant, workerBackbone } from '../../test/edge/edge.ts'
import { rankNodes } from '../../test/edge/rank-nodes.ts'
import type { StubCall } from '../../test/fakes/stub-behaviour.ts'
import { storeKeys } from '../store/records.ts'

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

describe('a push that two requests wait for', () => {
  const alone = () => new TestEdge({ QUARTET_NODES: JSON.stringify(stubs.addresses().slice(0, 1)) })
  const puts = async () => (await kinds()).filter((kind) => kind === 'put-adapter').length
  /** Both wait for the one push. */
  const both = async (edge: TestEdge, client: AbortSignal) => {
    const first = edge.fetch('/v1/chat/completions', {
      method: 'POST',
      headers: { authorization: `Bearer ${tenant.key}` },
      body: JSON.stringify({ model: 'tone', messages: [{ role: 'user', content: 'hello' }] }),
      signal: client,
    })
    await expect.poll(puts).toBe(1)
    const second = edge.chat(tenant)
    await expect.poll(async () => (await kinds()).length).toBe(3)
    return { first, second }
  }

  test('goes on for the second when the first client leaves, who is not held up by it', async () => {
    await stubs.behave({ tokens: [97], adapterMissing: true, pushDelayMs: 2_000 })
    const client = new AbortController()
    const { first, second } = await both(alone(), client.signal)
    client.abort()
    const ended = await Promise.race([first.then(() => 'the first'), second.then(() => 'the second')])
    expect(ended).toBe('the first')
    expect((await first).status).toBe(499)
    expect((await second).status).toBe(200)
    expect(await puts()).toBe(1)
  })

  test('has a time limit of its own, after which another node is asked', async () => {
    const [slow, other] = stubs.preferredBy(tenant.adapter)
    await stubs.behaveAt(slow, { tokens: [97], adapterMissing: true, pushDelayMs: 600_000 })
    await stubs.behaveAt(other, { tokens: [97] })
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'] })
    try {
      const isolate = new TestEdge({ QUARTET_REQUEST_TIMEOUT_MS: '300000' })
      const answer = isolate.chat(tenant)
      await expect.poll(puts).toBe(1)
      await vi.advanceTimersByTimeAsync(pushTimeoutMs)
      // The answer's background work waits by the same clock.
      const again = setInterval(() => void vi.advanceTimersByTimeAsync(1_000), 20)
      const { headers } = await answer.finally(() => clearInterval(again))
      expect(headers.get('x-quartet-node')).toBe(other.id)
    } finally {
      vi.useRealTimers()
    }
  })
})

const key = nodeTokenKey(env.QUARTET_NODE_SECRET)

/** The claims of the calls' tokens. Each token must be for the node that the call went to. */
async function claimsOf(calls: readonly StubCall[]): Promise<NodeTokenClaims[]> {
  const nodes = await Promise.all(
    stubs.addresses().map(async ({ id, url }) => ({
      id: NodeId.parse(id),
      tokens: new Set((await stubs.callsAt({ url })).map(({ authorization }) => authorization)),
    })),
  )
  return Promise.all(
    calls.map(({ authorization }) => {
      const asked = nodes.find(({ tokens }) => tokens.has(authorization))
      if (asked === undefined) throw new Error('no node got this call')
      return verifyNodeToken(key, authorization.replace('Bearer ', ''), { node: asked.id })
    }),
  )
}

test('each call carries a token for exactly what it does', async () => {
  const response = await edge.chat(tenant)
  const claims = await claimsOf(await stubs.calls())
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
  expect(response.headers.get('retry-after')).toBeNull()
})

test.each(['adapter_invalid', 'backbone_mismatch'])(
  'an adapter that a node refuses as %s goes to no other node, and leaves the retries to other requests',
  async (code) => {
    const [first, second] = stubs.preferredBy(tenant.adapter)
    await stubs.behaveAt(second, { tokens: [97] })
    await stubs.behaveAt(first, { tokens: [97], adapterMissing: true, refusePush: { status: 400, code } })
    for (let request = 0; request < 12; request++) {
      const response = await edge.chat(tenant)
      expect(response.status).toBe(502)
      expect(await response.json()).toMatchObject({
        error: {
          code: 'node_error',
          message: expect.stringMatching(/publish one .* or roll the alias back/),
        },
      })
    }
    expect(await stubs.callsAt(second)).toEqual([])
    await stubs.behaveAt(first, { tokens: [], refuse: { status: 500, code: 'internal_error' } })
    expect((await edge.chat(tenant)).status).toBe(200)
  },
)

test('an adapter that is too slow to push says nothing of the node: it is asked first the next time as well', async () => {
  const [first, second] = stubs.preferredBy(tenant.adapter)
  await stubs.behaveAt(second, { tokens: [97] })
  await stubs.behaveAt(first, { tokens: [97], adapterMissing: true, pushDelayMs: 600_000 })
  const puts = async () => (await stubs.callsAt(first)).filter(({ kind }) => kind === 'put-adapter').length
  const isolate = new TestEdge({ QUARTET_REQUEST_TIMEOUT_MS: '300000' })
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'] })
  try {
    for (let request = 1; request <= 2; request++) {
      const answer = isolate.chat(tenant)
      await expect.poll(puts).toBe(request)
      await vi.advanceTimersByTimeAsync(pushTimeoutMs)
      const again = setInterval(() => void vi.advanceTimersByTimeAsync(1_000), 20)
      const { headers } = await answer.finally(() => clearInterval(again))
      expect(headers.get('x-quartet-node')).toBe(second.id)
    }
  } finally {
    vi.useRealTimers()
  }
})

test('an adapter that the edge cannot read whole says nothing of the node', async () => {
  const name = storeKeys.adapter(TenantId.parse(tenant.id), tenant.adapter.digest)
  const metadata = { upload: 'gone', count: 2, bytes: tenant.adapter.file.length + 10 }
  await env.STORE.put(`adapter-part:${tenant.id}:gone:0`, tenant.adapter.file)
  await env.STORE.put(name, '', { metadata })
  const [first] = stubs.preferredBy(tenant.adapter)
  for (let request = 1; request <= 2; request++) {
    const answer = await edge.chat(tenant)
    expect(answer.status).toBe(503)
    expect(await answer.json()).toMatchObject({
      error: { message: expect.stringMatching(/has not arrived/) },
    })
    expect((await stubs.callsAt(first)).filter(({ kind }) => kind === 'generate')).toHaveLength(request)
  }
})

test.each([
  [413, 'body_too_large'],
  [413, 'node_unavailable'],
  [413, 'digest_mismatch'],
  // A server that waits no longer for a body says no more than that.
  [408, 'other'],
])('a push that a node refuses with %i %s opens no circuit, however often', async (status, code) => {
  const [first, second] = stubs.preferredBy(tenant.adapter)
  await stubs.behaveAt(second, { tokens: [97] })
  await stubs.behaveAt(first, { tokens: [97], adapterMissing: true, refusePush: { status, code } })
  for (let request = 0; request < 4; request++) await edge.chat(tenant)
  const pushed = (await stubs.callsAt(first)).filter(({ kind }) => kind === 'put-adapter')
  expect(pushed).toHaveLength(4)
})

test('a node that cannot hold all parts of a stack at once is busy for it, and opens no circuit', async () => {
  const tail = 1 + 'assistant\n'.length
  const names = ['one', 'two', 'three']
  for (const [at, name] of names.entries()) {
    const { file } = await makeAdapter({ backbone: workerBackbone, seed: 4_000 + at, rows: 1, tail })
    expect((await edge.own(tenant, 'POST', `/adapters?alias=${name}`, file)).status).toBe(201)
  }
  const [small, roomy] = rankNodes(`${tenant.id}/late`, stubs.addresses())
  if (small === undefined || roomy === undefined) throw new Error('two stub nodes are needed')
  await stubs.behaveAt(small, { tokens: [97], adapterMissing: true, mostAdapters: 2 })
  await stubs.behaveAt(roomy, { tokens: [97], adapterMissing: true })
  const asked = async (model: string) => (await edge.chat(tenant, { model })).headers.get('x-quartet-node')
  expect(await asked(names.join('+'))).toBe(roomy.id)
  expect(await asked('one+two')).toBe(small.id)
  await stubs.behave({ tokens: [97], adapterMissing: true, mostAdapters: 2 })
  const response = await edge.chat(tenant, { model: names.join('+') })
  expect(response.status).toBe(429)
  expect((await errorOf(response)).code).toBe('queue_full')
})

test('a node that redirects a push has failed, and the adapter is sent nowhere else in its name', async () => {
  const [first, second] = stubs.preferredBy(tenant.adapter)
  await stubs.behaveAt(second, { tokens: [97] })
  const location = `${second.url}/v1/adapters/${tenant.adapter.digest}`
  await stubs.behaveAt(first, {
    tokens: [97],
    adapterMissing: true,
    refusePush: { status: 307, code: 'moved', location },
  })
  const response = await edge.chat(tenant)
  expect(response.status).toBe(200)
  expect(response.headers.get('x-quartet-node')).toBe(second.id)
  expect((await stubs.callsAt(second)).map(({ kind }) => kind)).toEqual(['generate'])
})

describe('two tenants with the same file, at once and on one node', () => {
  const lone = () => new TestEdge({ QUARTET_NODES: JSON.stringify(stubs.addresses().slice(0, 1)) })
  let other: TestTenant

  beforeEach(async () => {
    edge = lone()
    other = await edge.seedTenant()
    const { digest, file } = tenant.adapter
    await edge.own(other, 'PUT', `/adapters/${digest}`, file)
    await edge.own(other, 'PUT', '/aliases/tone', { digest })
    await stubs.behave({ tokens: [97], adapterMissing: true, headDelayMs: 50 })
  })

  const pushed = async () => {
    const claims = await claimsOf((await stubs.calls()).filter(({ kind }) => kind === 'put-adapter'))
    return claims.map(({ sub }) => sub).toSorted()
  }

  test('have it pushed each by a token of their own', async () => {
    const answers = await Promise.all([edge.chat(tenant), edge.chat(other)])
    expect(answers.map(({ status }) => status)).toEqual([200, 200])
    expect(await pushed()).toEqual([tenant.id, other.id].toSorted())
  })

  test('have it pushed each from their own entry in KV', async () => {
    await env.STORE.delete(storeKeys.adapter(TenantId.parse(other.id), tenant.adapter.digest))
    const answers = await Promise.all([edge.chat(tenant), edge.chat(other)])
    expect(answers.map(({ status }) => status)).toEqual([200, 503])
    expect(await pushed()).toEqual([tenant.id])
  })
})
