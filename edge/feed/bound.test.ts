import { evictAllDurableObjects, runInDurableObject } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { CreateKeyResponse } from '../../shared/api/admin.ts'
import { sha256Hex } from '../../shared/digest.ts'
import { makeAdapter } from '../../test/edge/adapter.ts'
import { stubs, TestEdge, type TestTenant, workerBackbone } from '../../test/edge/edge.ts'
import { heldStore, staleStore, unreachable, withCalls } from '../../test/edge/stale-store.ts'
import { KeyRecord } from '../store/records.ts'
import { type Changes, retentionMs } from './change-feed.ts'
import { FeedView, maxViewAgeMs } from './feed-view.ts'

/** The promise of the product: a revoked key, a suspended tenant, a moved alias take effect within five seconds. */
const promisedMs = 5_000

const operator = new TestEdge()
let tenant: TestTenant

beforeAll(() => operator.seedBackbone())
beforeEach(async () => {
  tenant = await operator.seedTenant()
  await stubs.behave({ tokens: [97] })
})
afterEach(() => {
  vi.useRealTimers()
  vi.restoreAllMocks()
})

const at = (ms: number) => vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + ms })

async function secondKey(): Promise<CreateKeyResponse> {
  const created = await operator.admin('POST', `/tenants/${tenant.id}/keys`, { name: 'second' })
  return CreateKeyResponse.parse(await created.json())
}

const isolates: [name: string, make: () => TestEdge][] = [
  ['an isolate', () => new TestEdge()],
  ['an isolate where KV shows nothing of the change', () => new TestEdge({ STORE: staleStore(env.STORE) })],
]

describe.each(isolates)('%s that has just served them', (_name, make) => {
  test('stops serving a revoked key within the bound, and no other', async () => {
    const isolate = make()
    const { id, key } = await secondKey()
    expect((await isolate.chat({ key })).status).toBe(200)
    expect((await isolate.chat(tenant)).status).toBe(200)
    await operator.admin('DELETE', `/tenants/${tenant.id}/keys/${id}`)
    at(promisedMs)
    expect((await isolate.chat({ key })).status).toBe(401)
    expect((await isolate.chat(tenant)).status).toBe(200)
  })

  test('stops serving it within the bound however busy it is, and without a request that waits', async () => {
    const isolate = make()
    const { id, key } = await secondKey()
    expect((await isolate.chat({ key })).status).toBe(200)
    await operator.admin('DELETE', `/tenants/${tenant.id}/keys/${id}`)
    at(maxViewAgeMs - 1_000)
    await isolate.chat({ key })
    expect((await isolate.chat({ key })).status).toBe(401)
  })

  test('stops serving a suspended tenant within the bound, and serves it again when it is resumed', async () => {
    const isolate = make()
    expect((await isolate.chat(tenant)).status).toBe(200)
    await operator.admin('PATCH', `/tenants/${tenant.id}`, { status: 'suspended' })
    at(promisedMs)
    const refused = await isolate.chat(tenant)
    expect(refused.status).toBe(403)
    expect(await refused.json()).toMatchObject({ error: { code: 'tenant_suspended' } })
    await operator.admin('PATCH', `/tenants/${tenant.id}`, { status: 'active' })
    at(promisedMs)
    expect((await isolate.chat(tenant)).status).toBe(200)
  })

  test('sends requests to a moved alias’s new adapter within the bound', async () => {
    const isolate = make()
    expect((await isolate.chat(tenant)).headers.get('x-quartet-adapter')).toBe(tenant.adapter.digest)
    const next = await makeAdapter({ backbone: workerBackbone, seed: 77 })
    await operator.admin('PUT', `/tenants/${tenant.id}/adapters/${next.digest}`, next.file)
    await operator.admin('PUT', `/tenants/${tenant.id}/aliases/tone`, { digest: next.digest })
    at(promisedMs)
    expect((await isolate.chat(tenant)).headers.get('x-quartet-adapter')).toBe(next.digest)
  })

  test('begins no request of a revoked key, a narrowed one or a suspended tenant whose body was on its way', async () => {
    const isolate = make()
    const { id, key } = await secondKey()
    const slowly = (of: string) => {
      const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>()
      const headers = { authorization: `Bearer ${of}`, 'content-type': 'application/json' }
      const answer = isolate.fetch('/v1/completions', { method: 'POST', headers, body: readable })
      const body = new TextEncoder().encode(JSON.stringify({ model: 'tone', prompt: 'a', max_tokens: 1 }))
      const send = async () => {
        const writer = writable.getWriter()
        await writer.write(body)
        await writer.close()
      }
      return { answer, send }
    }
    const narrowed = await secondKey()
    const first = slowly(key)
    const fourth = slowly(narrowed.key)
    const second = slowly(tenant.key)
    const third = slowly(tenant.key)
    await new Promise((resolve) => setTimeout(resolve, 200))
    await operator.admin('DELETE', `/tenants/${tenant.id}/keys/${id}`)
    await operator.admin('PATCH', `/tenants/${tenant.id}/keys/${narrowed.id}`, { scopes: ['deploy'] })
    at(promisedMs)
    await fourth.send()
    expect((await fourth.answer).status).toBe(403)
    await first.send()
    expect((await first.answer).status).toBe(401)
    await second.send()
    expect((await second.answer).status).toBe(200)
    await operator.admin('PATCH', `/tenants/${tenant.id}`, { status: 'suspended' })
    at(promisedMs)
    await third.send()
    expect((await third.answer).status).toBe(403)
  })

  test('stops serving a deleted tenant within the bound', async () => {
    const isolate = make()
    expect((await isolate.chat(tenant)).status).toBe(200)
    expect((await operator.admin('DELETE', `/tenants/${tenant.id}`)).status).toBe(204)
    at(promisedMs)
    expect((await isolate.chat(tenant)).status).toBe(401)
  })

  test('stops serving a key from its expiry on, and within the bound when the expiry is brought forward', async () => {
    const isolate = make()
    const { id, key } = await secondKey()
    expect((await isolate.chat({ key })).status).toBe(200)
    const path = `/tenants/${tenant.id}/keys/${id}`
    expect((await operator.admin('PATCH', path, { expiresAt: Date.now() + 60_000 })).status).toBe(200)
    at(promisedMs)
    expect((await isolate.chat({ key })).status).toBe(200)
    at(60_000)
    expect((await isolate.chat({ key })).status).toBe(401)
  })
})

describe('an isolate', () => {
  test('that cannot reach the change feed asks the tenant’s own directory, so that the bound holds', async () => {
    const isolate = new TestEdge({ STORE: staleStore(env.STORE), FEED: unreachable(env.FEED) })
    const { id, key } = await secondKey()
    expect((await isolate.chat({ key })).status).toBe(200)
    expect((await isolate.chat(tenant)).status).toBe(200)
    await operator.admin('DELETE', `/tenants/${tenant.id}/keys/${id}`)
    at(promisedMs)
    expect((await isolate.chat({ key })).status).toBe(401)
    expect((await isolate.chat(tenant)).status).toBe(200)
  })

  test('that can reach neither serves nobody, and says so', async () => {
    const isolate = new TestEdge({ FEED: unreachable(env.FEED), TENANTS: unreachable(env.TENANTS) })
    const refused = await isolate.chat(tenant)
    expect(refused.status).toBe(503)
    expect(refused.headers.get('retry-after')).toBeNull()
    expect(await refused.json()).toMatchObject({ error: { code: 'control_unavailable' } })
  })

  test('that slept through more than the feed remembers trusts nothing of what it knew', async () => {
    const isolate = new TestEdge()
    const { id, key } = await secondKey()
    expect((await isolate.chat({ key })).status).toBe(200)
    await operator.admin('DELETE', `/tenants/${tenant.id}/keys/${id}`)
    at(retentionMs + 60_000)
    await operator.seedTenant()
    expect((await isolate.chat({ key })).status).toBe(401)
    expect((await isolate.chat(tenant)).status).toBe(200)
  })

  test('does not forget a revocation while KV may still show the key', async () => {
    const isolate = new TestEdge({ STORE: staleStore(env.STORE) })
    const { id, key } = await secondKey()
    await isolate.chat({ key })
    await operator.admin('DELETE', `/tenants/${tenant.id}/keys/${id}`)
    for (let minute = 0; minute < 10; minute++) {
      at(60_000)
      expect((await isolate.chat({ key })).status).toBe(401)
    }
  })

  test('does not believe what KV answers after the key was revoked', async () => {
    const { id, key } = await secondKey()
    // So long ago that the feed says nothing of the key, and KV is asked.
    at(retentionMs + 60_000)
    await operator.seedTenant()
    const held = heldStore(env.STORE, 'key:')
    const isolate = new TestEdge({ STORE: held.store })
    const early = isolate.chat({ key })
    await held.asked
    await operator.admin('DELETE', `/tenants/${tenant.id}/keys/${id}`)
    held.release()
    await early
    at(promisedMs)
    expect((await isolate.chat({ key })).status).toBe(401)
    expect((await isolate.chat(tenant)).status).toBe(200)
  })

  test('does not believe what a directory said before the feed told of a revocation', async () => {
    const { id, key } = await secondKey()
    const [asked, released] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
    let isFeedAway = true
    const isolate = new TestEdge({
      FEED: withCalls(env.FEED, (call) => (isFeedAway ? Promise.reject(new Error('away')) : call())),
      TENANTS: withCalls(env.TENANTS, async (call, method) => {
        const answer = await call()
        if (method !== 'verdict') return answer
        asked.resolve()
        await released.promise
        return answer
      }),
    })
    const slow = isolate.chat({ key })
    await asked.promise
    await operator.admin('DELETE', `/tenants/${tenant.id}/keys/${id}`)
    isFeedAway = false
    at(1_500)
    expect((await isolate.chat({ key })).status).toBe(401)
    released.resolve()
    expect((await slow).status).toBe(401)
    for (let minute = 0; minute < 10; minute++) {
      at(60_000)
      expect((await isolate.chat({ key })).status).toBe(401)
    }
  })

  test('asks a feed that hangs once for many requests, and then each key’s directory once', async () => {
    const calls: string[] = []
    const isolate = new TestEdge({
      FEED: withCalls(env.FEED, (_call, method) => {
        calls.push(method)
        return new Promise(() => undefined)
      }),
      TENANTS: withCalls(env.TENANTS, (call, method) => {
        calls.push(method)
        return call()
      }),
    })
    const began = performance.now()
    const answers = await Promise.all(Array.from({ length: 20 }, () => isolate.chat(tenant)))
    for (const { status } of answers) expect(status).toBe(200)
    expect(calls).toEqual(['changes', 'verdict'])
    expect(performance.now() - began).toBeLessThan(3_000)
  })

  test('that can reach neither because both hang says so, rather than hang as well', async () => {
    const hangs = () => new Promise(() => undefined)
    const isolate = new TestEdge({
      FEED: withCalls(env.FEED, hangs),
      TENANTS: withCalls(env.TENANTS, hangs),
    })
    expect((await isolate.chat(tenant)).status).toBe(503)
  })

  test('sees what it changed with its next request, whatever it was asking the feed meanwhile', async () => {
    const [asked, released] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
    let isHeld = false
    const isolate = new TestEdge({
      FEED: withCalls(env.FEED, async (call) => {
        const answer = await call()
        if (!isHeld) return answer
        isHeld = false
        asked.resolve()
        await released.promise
        return answer
      }),
    })
    const next = await makeAdapter({ backbone: workerBackbone, seed: 78 })
    await isolate.own(tenant, 'POST', '/adapters', next.file)
    await isolate.chat(tenant)
    at(maxViewAgeMs - 1_000)
    isHeld = true
    const renewing = isolate.chat(tenant)
    await asked.promise
    await isolate.own(tenant, 'PUT', '/aliases/tone', { digest: next.digest })
    const answer = isolate.chat(tenant)
    await new Promise((resolve) => setTimeout(resolve, 50))
    released.resolve()
    await renewing
    expect((await answer).headers.get('x-quartet-adapter')).toBe(next.digest)
    expect((await isolate.chat(tenant)).headers.get('x-quartet-adapter')).toBe(next.digest)
  })

  test('whose KV answers late answers late and right', async () => {
    const held = heldStore(env.STORE, 'tenant:')
    const isolate = new TestEdge({ STORE: held.store })
    const answer = isolate.chat(tenant)
    await held.asked
    const isOver = await Promise.race([
      answer.then(() => true),
      new Promise((resolve) => setTimeout(() => resolve(false), 300)),
    ])
    expect(isOver).toBe(false)
    held.release()
    expect((await answer).headers.get('x-quartet-adapter')).toBe(tenant.adapter.digest)
  })

  test('asks the feed once for many requests', async () => {
    const isolate = new TestEdge()
    await isolate.chat(tenant)
    const calls = vi.spyOn(env.FEED, 'get')
    for (let second = 0; second < 10; second++) {
      at(1_000)
      for (let request = 0; request < 5; request++) await isolate.chat(tenant)
    }
    expect(calls.mock.calls.length).toBeGreaterThan(1)
    expect(calls.mock.calls.length).toBeLessThanOrEqual(4)
  })
})

test('a change outlives a restart of every object', async () => {
  const { id, key } = await secondKey()
  await operator.admin('DELETE', `/tenants/${tenant.id}/keys/${id}`)
  await evictAllDurableObjects()
  const isolate = new TestEdge({ STORE: staleStore(env.STORE) })
  expect((await isolate.chat({ key })).status).toBe(401)
  expect((await isolate.chat(tenant)).status).toBe(200)
})

test('a publication that is overtaken by a later one brings no revoked key back', async () => {
  const { id, key } = await secondKey()
  const feed = env.FEED.get(env.FEED.idFromName('feed'))
  const sha256 = await sha256Hex(key)
  const known = await feed.tenants({ after: '', limit: 1_000, of: 'today' })
  const before = known.find((each) => each.id === tenant.id)
  if (before === undefined) throw new Error('the feed does not know the tenant')
  await operator.admin('DELETE', `/tenants/${tenant.id}/keys/${id}`)
  // What the tenant's directory sent before, and gave up to wait for.
  const record = KeyRecord.parse({ tenant: tenant.id, keyId: id })
  await feed.publish([{ tenant: before, keys: [{ sha256, record }] }])
  expect((await new TestEdge({ STORE: staleStore(env.STORE) }).chat({ key })).status).toBe(401)
})

test('an answer of the feed that was overtaken by a later one brings no revoked key back, however long the isolate slept', async () => {
  const view = new FeedView()
  const id = 'a'.repeat(64)
  const record = KeyRecord.parse({ tenant: tenant.id, keyId: 'key_000000000000' })
  const late = Promise.withResolvers<Changes>()
  const answers: (() => Promise<Changes>)[] = [
    async () => ({ seq: 5, changes: [], missed: false, more: false }),
    () => late.promise,
    async () => ({ seq: 9, changes: [{ kind: 'key', id, record: null }], missed: true, more: false }),
  ]
  const renew = () =>
    view.renew({
      changes: () => answers.shift()?.() ?? Promise.reject(new Error('asked too often')),
      onChanges: () => undefined,
      background: () => undefined,
    })
  await renew()
  at(retentionMs + 60_000)
  const slow = renew()
  view.expire()
  await renew()
  late.resolve({ seq: 8, changes: [{ kind: 'key', id, record }], missed: true, more: false })
  await slow
  expect(view.key(id)).toEqual({ record: null, at: expect.anything() })
})

test('a change that the feed did not take is an error to its author, and is told later', async () => {
  const isolate = new TestEdge()
  const { id, key } = await secondKey()
  await isolate.chat({ key })
  const stub = env.TENANTS.get(env.TENANTS.idFromName(tenant.id))
  const feed = await runInDurableObject(stub, (directory) => {
    // biome-ignore lint/complexity/useLiteralKeys: `env` is protected
    const bindings: { FEED: typeof env.FEED } = directory['env']
    const working = bindings.FEED
    bindings.FEED = unreachable(working)
    return working
  })
  const refused = await operator.admin('DELETE', `/tenants/${tenant.id}/keys/${id}`)
  expect(refused.status).toBe(503)
  expect(await refused.json()).toMatchObject({ error: { code: 'control_unavailable' } })
  await runInDurableObject(stub, async (directory) => {
    // biome-ignore lint/complexity/useLiteralKeys: `env` is protected
    const bindings: { FEED: typeof env.FEED } = directory['env']
    bindings.FEED = feed
    await directory.alarm()
  })
  at(promisedMs)
  expect((await isolate.chat({ key })).status).toBe(401)
})
