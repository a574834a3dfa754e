import { runInDurableObject } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { CreateKeyResponse, TenantSummary } from '../../shared/api/admin.ts'
import { TestEdge, type TestTenant } from '../../test/edge/edge.ts'
import { keptCalls } from '../../test/edge/kept-calls.ts'
import { unreachable, withCalls } from '../../test/edge/stale-store.ts'
import { refuse } from '../directory/outcome.ts'

const edge = new TestEdge()
const feed = env.FEED
let tenant: TestTenant

beforeAll(() => edge.seedBackbone())
beforeEach(async () => {
  tenant = await edge.seedTenant()
})

const post = (
  path: string,
  { body, key, isolate = edge }: { body: object; key: string; isolate?: TestEdge },
) =>
  isolate.fetch(`/admin/v1${path}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${env.QUARTET_ADMIN_KEY}`, 'idempotency-key': key },
    body: JSON.stringify(body),
  })

/** Whom the tenant's directory tells of its changes from then on. */
async function connectFeed(namespace: typeof env.FEED): Promise<void> {
  const directory = env.TENANTS.get(env.TENANTS.idFromName(tenant.id))
  await runInDurableObject(directory, (object) => {
    // biome-ignore lint/complexity/useLiteralKeys: `env` is protected
    const bindings: { FEED: typeof env.FEED } = object['env']
    bindings.FEED = namespace
  })
}

const keys = async () =>
  TenantSummary.parse(await (await edge.admin('GET', `/tenants/${tenant.id}`)).json()).keys

describe('the same Idempotency-Key', () => {
  test('twice at once, on two isolates, acts once and answers the same, the secret included', async () => {
    const path = `/tenants/${tenant.id}/keys`
    const key = crypto.randomUUID()
    const before = (await keys()).length
    const answers = await Promise.all(
      [edge, new TestEdge(), new TestEdge()].map((isolate) =>
        post(path, { body: { name: 'once' }, key, isolate }),
      ),
    )
    expect(answers.map(({ status }) => status)).toEqual([201, 201, 201])
    const bodies = await Promise.all(answers.map((answer) => answer.text()))
    expect(new Set(bodies).size).toBe(1)
    expect(CreateKeyResponse.parse(JSON.parse(bodies[0] ?? '')).key).toMatch(/^qk_/)
    expect((await keys()).length).toBe(before + 1)
    expect(answers.filter((answer) => answer.headers.get('idempotency-replayed') === 'true')).toHaveLength(2)
  })

  test('later answers the same again, a refusal too', async () => {
    const key = crypto.randomUUID()
    const first = await post('/tenants', { body: { id: tenant.id }, key })
    const second = await post('/tenants', { body: { id: tenant.id }, key })
    expect([first.status, second.status]).toEqual([409, 409])
    expect(await first.text()).toBe(await second.text())
  })

  test('after a request that was malformed may be used again, and nothing is kept of it', async () => {
    const path = `/tenants/${tenant.id}/keys`
    const key = crypto.randomUUID()
    const before = await keptCalls()
    for (const name of [5, 'x'.repeat(200)])
      expect((await post(path, { body: { name }, key })).status).toBe(400)
    expect(await keptCalls()).toEqual(before)
    expect((await post(path, { body: { name: 'right' }, key })).status).toBe(201)
    expect((await keptCalls()).length).toBe(before.length + 1)
  })

  test('of an action that failed after it was recorded acts no second time', async () => {
    const path = `/tenants/${tenant.id}/keys`
    const key = crypto.randomUUID()
    const before = (await keys()).length
    await connectFeed(unreachable(feed))
    const first = await post(path, { body: { name: 'recorded' }, key })
    await connectFeed(feed)
    expect(first.status).toBe(503)
    expect((await keys()).length).toBe(before + 1)
    const again = await post(path, { body: { name: 'recorded' }, key })
    expect(again.status).toBe(409)
    expect(await again.json()).toMatchObject({
      error: { code: 'idempotency_conflict', message: expect.stringMatching(/look whether it acted/) },
    })
    expect((await keys()).length).toBe(before + 1)
  })

  test('of an action that did not begin may be used again', async () => {
    const path = `/tenants/${tenant.id}/keys`
    const key = crypto.randomUUID()
    const isolate = new TestEdge({ AUDIT: unreachable(env.AUDIT) })
    expect((await post(path, { body: {}, key, isolate })).status).toBe(503)
    expect((await post(path, { body: {}, key })).status).toBe(201)
  })

  test('of an action that was told to come back later may be used again', async () => {
    let isBusy = true
    const later = refuse('conflict', 'what the deleted tenant had is still being removed; retry', {
      isTransient: true,
    })
    const isolate = new TestEdge({
      TENANTS: withCalls(env.TENANTS, async (call, method) =>
        isBusy && method === 'create' ? later : call(),
      ),
    })
    const key = crypto.randomUUID()
    const create = () => post('/tenants', { body: { id: `late-${tenant.id}` }, key, isolate })
    expect((await create()).status).toBe(409)
    isBusy = false
    expect((await create()).status).toBe(201)
  })

  test('after the operator’s key was changed is told that the answer cannot be read any more', async () => {
    const key = crypto.randomUUID()
    const rollback = (isolate: TestEdge) =>
      isolate.fetch('/v1/aliases/tone/rollback', {
        method: 'POST',
        headers: { authorization: `Bearer ${tenant.key}`, 'idempotency-key': key },
      })
    await rollback(edge)
    const rotated = await rollback(new TestEdge({ QUARTET_ADMIN_KEY: 'another-admin-key-0123456789' }))
    expect(rotated.status).toBe(409)
    expect(await rotated.json()).toMatchObject({
      error: { code: 'idempotency_conflict', message: expect.stringMatching(/cannot be read any more/) },
    })
  })

  test('for something else is refused', async () => {
    const path = `/tenants/${tenant.id}/keys`
    const key = crypto.randomUUID()
    await post(path, { body: { name: 'one' }, key })
    const other = await post(path, { body: { name: 'two' }, key })
    expect(other.status).toBe(409)
    expect(await other.json()).toMatchObject({
      error: { code: 'idempotency_conflict', param: 'Idempotency-Key' },
    })
  })

  test('of another caller is another key', async () => {
    const key = 'shared-key'
    const other = await edge.seedTenant()
    const rollback = ({ key: secret }: TestTenant) =>
      edge.fetch('/v1/aliases/tone/rollback', {
        method: 'POST',
        headers: { authorization: `Bearer ${secret}`, 'idempotency-key': key },
      })
    const [mine, theirs] = [await rollback(tenant), await rollback(other)]
    expect([mine.status, theirs.status]).toEqual([409, 409])
    expect(theirs.headers.get('idempotency-replayed')).toBeNull()
  })

  test.each(['a b', 'x'.repeat(256)])('%j is none', async (key) => {
    const answer = await post('/tenants', { body: { id: 'x' }, key })
    expect(answer.status).toBe(400)
  })
})
