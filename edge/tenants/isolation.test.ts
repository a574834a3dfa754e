import { env } from 'cloudflare:workers'
import { afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { ModelList } from '../../shared/api/models.ts'
import { countedBindings } from '../../test/edge/counted-bindings.ts'
import { readSse, stubs, TestEdge, type TestTenant } from '../../test/edge/edge.ts'

const edge = new TestEdge()
let mine: TestTenant
let theirs: TestTenant

beforeAll(async () => {
  await edge.seedBackbone()
  mine = await edge.seedTenant()
  theirs = await edge.seedTenant()
  await edge.admin('PUT', `/tenants/${theirs.id}/aliases/secret-tone`, { digest: theirs.adapter.digest })
})
beforeEach(() => stubs.behave({ tokens: [97] }))
afterEach(() => {
  vi.useRealTimers()
})

const get = (path: string, { key }: TestTenant) =>
  edge.fetch(path, { headers: { authorization: `Bearer ${key}` } })

describe('a tenant’s key', () => {
  test('never reaches another tenant’s alias: 404, in the words of one that does not exist', async () => {
    const other = await edge.chat(mine, { model: 'secret-tone' })
    const none = await edge.chat(mine, { model: 'no-such-one' })
    expect([other.status, none.status]).toEqual([404, 404])
    const words = async (response: Response, model: string) =>
      (await response.text()).replaceAll(model, 'MODEL')
    expect(await words(other, 'secret-tone')).toBe(await words(none, 'no-such-one'))
    expect(await stubs.calls()).toEqual([])
    expect((await edge.chat(theirs, { model: 'secret-tone' })).status).toBe(200)
  })

  test('never reaches an adapter by its digest', async () => {
    for (const digest of [mine.adapter.digest, theirs.adapter.digest])
      expect((await edge.chat(mine, { model: digest })).status).toBe(404)
  })

  test('finds its own adapter under a name that both tenants use', async () => {
    expect((await edge.chat(mine)).headers.get('x-quartet-adapter')).toBe(mine.adapter.digest)
    expect((await edge.chat(theirs)).headers.get('x-quartet-adapter')).toBe(theirs.adapter.digest)
  })

  test('lists its own models and the backbone', async () => {
    const { data } = ModelList.parse(await (await get('/v1/models', mine)).json())
    expect(data.map(({ id }) => id)).toEqual(['tone', 'tiny'])
    expect((await get('/v1/models/tone', mine)).status).toBe(200)
    expect((await get('/v1/models/secret-tone', mine)).status).toBe(404)
  })

  test('opens nothing under /admin', async () => {
    const response = await get('/admin/v1/tenants', mine)
    expect(response.status).toBe(401)
    expect(await response.json()).toMatchObject({ error: { code: 'invalid_admin_key' } })
  })
})

describe('a warm request', () => {
  /** An isolate that tells what it used later than any of these tests ends. */
  const warmIsolate = async () => {
    const { bindings, calls } = countedBindings(env)
    const isolate = new TestEdge({ ...bindings, QUARTET_GATHER_MS: '7000' })
    const ask = async () => {
      const answer = await isolate.chat(mine, { stream: true, max_tokens: 4 })
      expect(answer.status).toBe(200)
      await readSse(answer)
    }
    await ask()
    return { ask, calls: () => ({ ...calls }) }
  }

  test('reads neither KV nor a Durable Object', async () => {
    // The clock stands still, so that nothing gets old enough to be read again, however slow the machine is.
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() })
    const { ask, calls } = await warmIsolate()
    const before = calls()
    expect(before.STORE).toBeGreaterThan(0)
    for (let i = 0; i < 3; i++) await ask()
    expect(calls()).toEqual(before)
  })

  test('of a tenant with limits spends from its isolate’s lease: many together are one call to the budget', async () => {
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() })
    await edge.admin('PATCH', `/tenants/${mine.id}`, { policy: { tokensPerDay: 1_000_000 } })
    const { ask, calls } = await warmIsolate()
    // Nothing is lent ahead before there is a load of more than a second.
    for (let tenths = 0; tenths < 15; tenths++) {
      await ask()
      vi.setSystemTime(Date.now() + 100)
    }
    const before = calls()
    for (let i = 0; i < 20; i++) await ask()
    const { BUDGETS, ...others } = calls()
    expect(BUDGETS - before.BUDGETS).toBeLessThanOrEqual(3)
    expect(others).toMatchObject({ STORE: before.STORE, TENANTS: before.TENANTS, IDEMPOTENCY: 0, AUDIT: 0 })
  })
})
