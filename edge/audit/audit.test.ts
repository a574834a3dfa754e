import { runInDurableObject } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { CreateKeyResponse } from '../../shared/api/admin.ts'
import { AuditPage } from '../../shared/api/audit.ts'
import { sha256Hex } from '../../shared/digest.ts'
import { makeAdapter } from '../../test/edge/adapter.ts'
import { TestEdge, type TestTenant, workerBackbone } from '../../test/edge/edge.ts'
import { unreachable } from '../../test/edge/stale-store.ts'
import { routes } from '../routes/table/routes.ts'

const edge = new TestEdge()
let tenant: TestTenant

beforeAll(async () => {
  await edge.seedBackbone()
  tenant = await edge.seedTenant()
})

afterEach(() => {
  vi.useRealTimers()
})

const ids = (): Readonly<Record<string, string>> => ({
  id: tenant.id,
  keyId: 'key_000000000000',
  digest: tenant.adapter.digest,
  alias: 'tone',
  slug: 'tiny',
})

const log = async (query = '') => AuditPage.parse(await (await edge.admin('GET', `/audit?${query}`)).json())

describe('the audit log', () => {
  test('tells who did what, when, to what and how it ended, newest first', async () => {
    const began = Date.now()
    const created = await edge.admin('POST', `/tenants/${tenant.id}/keys`, { name: 'audited' })
    const { id: keyId } = CreateKeyResponse.parse(await created.clone().json())
    await edge.admin('DELETE', `/tenants/${tenant.id}/keys/key_000000000000`)
    await edge.own(tenant, 'DELETE', `/adapters/${tenant.adapter.digest}`)
    const { data } = await log(`tenant=${tenant.id}&limit=3`)
    expect(data).toMatchObject([
      {
        action: 'adapter.delete',
        actor: expect.stringMatching(/^key_/),
        target: { digest: tenant.adapter.digest },
        outcome: 'adapter_in_use',
      },
      { action: 'key.revoke', actor: 'admin', target: { keyId: 'key_000000000000' }, outcome: 'not_found' },
      {
        action: 'key.create',
        actor: 'admin',
        tenant: tenant.id,
        target: { keyId },
        outcome: 'ok',
        requestId: created.headers.get('x-request-id'),
      },
    ])
    for (const { at } of data) expect(at).toBeGreaterThanOrEqual(began)
  })

  test('tells of a tenant’s creation among what was done to it', async () => {
    const { data } = await log(`tenant=${tenant.id}&limit=1000`)
    expect(data.at(-1)).toMatchObject({ action: 'tenant.create', tenant: tenant.id, outcome: 'ok' })
  })

  test('tells which limits a tenant was created with, and until when a key works', async () => {
    const policy = { requestsPerMinute: 7, aliases: ['tone'] }
    await edge.admin('POST', '/tenants', { id: 'limited', policy })
    const expiresAt = Date.now() + 3_600_000
    await edge.admin('POST', '/tenants/limited/keys', { expiresAt })
    await edge.admin('POST', '/tenants/limited/keys', {})
    const [forever, key, created] = (await log('tenant=limited')).data
    expect(forever?.target.expiresAt).toBe('null')
    expect(key?.target.expiresAt).toBe(String(expiresAt))
    expect(JSON.parse(created?.target.policy ?? '')).toMatchObject(policy)
  })

  test('tells which alias an upload deploys, even if that then fails', async () => {
    const other = await makeAdapter({ backbone: workerBackbone, seed: 4_711 })
    await edge.admin('POST', `/tenants/${tenant.id}/adapters?alias=fresh`, other.file)
    await edge.admin('POST', `/tenants/${tenant.id}/adapters?alias=late`, new Uint8Array(9))
    const [failed, done] = (await log(`tenant=${tenant.id}&action=adapter.publish`)).data
    expect(done).toMatchObject({ target: { alias: 'fresh', digest: other.digest }, outcome: 'ok' })
    expect(failed).toMatchObject({ target: { alias: 'late' }, outcome: 'adapter_invalid' })
  })

  test('never holds a secret', async () => {
    const created = await edge.admin('POST', `/tenants/${tenant.id}/keys`, {})
    const { key } = CreateKeyResponse.parse(await created.json())
    const text = JSON.stringify(await log('limit=1000'))
    for (const secret of [key, await sha256Hex(key), env.QUARTET_ADMIN_KEY])
      expect(text).not.toContain(secret)
  })

  test.each([
    ['an API key', () => tenant.key],
    ['long text', () => 'x'.repeat(4_000)],
    ['control characters', () => 'a\u0000\u001b[31m\n'],
    ['a name of our own that is none', () => 'UPPER'],
  ])('never holds %s that stands in a path where an id belongs', async (_name, text) => {
    const before = await log('limit=1')
    // The log is not told of stored answers: they are no part of the control plane.
    const changes = routes.filter(
      ({ auth, method, parameters, path }) =>
        auth !== 'node' && method !== 'get' && parameters !== undefined && !path.startsWith('/v1/responses/'),
    )
    expect(changes.length).toBeGreaterThan(20)
    for (const { auth, method, parameters = {}, path } of changes)
      for (const wrong of Object.keys(parameters)) {
        const target = path.replaceAll(/\{([A-Za-z]+)\}/g, (_, name: string) =>
          encodeURIComponent(name === wrong ? text() : (ids()[name] ?? '')),
        )
        const response = await edge.fetch(target, {
          method: method.toUpperCase(),
          headers: { authorization: `Bearer ${auth === 'admin' ? env.QUARTET_ADMIN_KEY : tenant.key}` },
          body: '{}',
        })
        expect(await response.text(), `${method} ${path}`).toMatch(/the path is wrong/)
        expect(response.status).toBe(400)
      }
    expect(await log('limit=1')).toEqual(before)
  })

  test('cuts what an operator asked for where it is long', async () => {
    const aliases = Array.from({ length: 500 }, (_, at) => `alias-${at}`)
    await edge.admin('PATCH', `/tenants/${tenant.id}`, { policy: { aliases } })
    const { data } = await log('action=tenant.change&limit=1')
    expect(data[0]?.target.change).toHaveLength(1_000)
  })

  test('is read in pages, and by action, actor and time', async () => {
    const all = (await log('limit=1000')).data
    const first = await log('limit=2')
    expect(first.has_more).toBe(true)
    const second = await log(`limit=2&after=${first.last_id}`)
    expect([...first.data, ...second.data]).toEqual(all.slice(0, 4))
    const keys = (await log('action=key')).data
    expect(keys.length).toBeGreaterThan(2)
    for (const { action } of keys) expect(action).toMatch(/^key\./)
    for (const { action } of (await log('action=key.revoke')).data) expect(action).toBe('key.revoke')
    for (const { actor } of (await log('actor=admin')).data) expect(actor).toBe('admin')
    expect((await log(`since=${Date.now() + 60_000}`)).data).toEqual([])
  })

  test.each(['limit=0', 'limit=x', 'after=x', 'action=Key', 'tenant=A', 'nonsense=1', 'since=yesterday'])(
    'refuses to be asked for %s',
    async (query) => {
      const response = await edge.admin('GET', `/audit?${query}`)
      expect(response.status).toBe(400)
      const { error }: { error: { param: string } } = await response.json()
      expect(error.param).toBe(query.split('=')[0])
    },
  )

  test('cannot be changed, not even from within', async () => {
    await runInDurableObject(env.AUDIT.get(env.AUDIT.idFromName('audit')), (_log, { storage }) => {
      for (const table of ['actions', 'outcomes'])
        for (const change of [
          `DELETE FROM ${table}`,
          `UPDATE ${table} SET id = id + 1`,
          `UPDATE OR REPLACE ${table} SET id = 1`,
          `INSERT OR REPLACE INTO ${table} SELECT * FROM ${table} WHERE id = 1`,
          `REPLACE INTO ${table} SELECT * FROM ${table}`,
        ])
          expect(() => storage.sql.exec(change), change).toThrow(/append-only/)
      // Not even under a number of its own: one request has one entry.
      const copy = `INSERT OR REPLACE INTO actions (request_id, at, actor, action, tenant, target)
        SELECT request_id, 0, 'nobody', action, tenant, target FROM actions WHERE id = 1`
      expect(() => storage.sql.exec(copy)).toThrow(/append-only/)
    })
  })

  test('keeps an action’s first outcome', async () => {
    const { id = 0, outcome } = (await log('limit=1')).data[0] ?? {}
    const stub = env.AUDIT.get(env.AUDIT.idFromName('audit'))
    await stub.end(id, { outcome: 'internal_error', target: { digest: 'another' } })
    expect((await log('limit=1')).data[0]).toMatchObject({ id, outcome })
  })

  test('is closed to tenants', async () => {
    expect(
      (await edge.fetch('/admin/v1/audit', { headers: { authorization: `Bearer ${tenant.key}` } })).status,
    ).toBe(401)
  })
})

describe('a tenant’s own keys', () => {
  const change = (isolate: TestEdge, of = tenant) =>
    isolate.own(of, 'PUT', '/aliases/tone', { digest: of.adapter.digest })

  test('change no more than 120 things a minute, however many isolates they ask at once', async () => {
    const other = await edge.seedTenant()
    const busy = await edge.seedTenant()
    const isolates = [edge, new TestEdge(), new TestEdge()]
    const answers = await Promise.all(
      Array.from({ length: 130 }, (_, at) => change(isolates[at % 3] ?? edge, busy)),
    )
    const refused = answers.filter(({ status }) => status === 429)
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(120)
    expect(refused).toHaveLength(10)
    expect(Number(refused[0]?.headers.get('retry-after'))).toBeGreaterThan(50)
    expect(await refused[0]?.json()).toMatchObject({ error: { code: 'rate_limited' } })
    expect((await log(`tenant=${busy.id}&action=alias&limit=1000`)).data).toHaveLength(121)
    // Neither others nor operators are held back, nor is reading.
    expect((await change(edge, other)).status).toBe(200)
    const path = `/tenants/${busy.id}/aliases/tone`
    expect((await edge.admin('PUT', path, { digest: busy.adapter.digest })).status).toBe(200)
    expect((await edge.own(busy, 'GET', '/aliases')).status).toBe(200)
    const waitMs = 1_000 * Number(refused[0]?.headers.get('retry-after'))
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + waitMs })
    expect((await change(edge, busy)).status).toBe(200)
  })

  test('may repeat one that was refused so under the same Idempotency-Key', async () => {
    const busy = await edge.seedTenant()
    await Promise.all(Array.from({ length: 120 }, () => change(edge, busy)))
    const rollback = () =>
      edge.fetch('/v1/aliases/tone/rollback', {
        method: 'POST',
        headers: { authorization: `Bearer ${busy.key}`, 'idempotency-key': 'again' },
      })
    expect((await rollback()).status).toBe(429)
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 60_000 })
    expect((await rollback()).status).toBe(409)
  })
})

test('an action that cannot be written down is not done', async () => {
  const deaf = new TestEdge({ AUDIT: unreachable(env.AUDIT) })
  const refused = await deaf.admin('POST', '/tenants', { id: 'never-made' })
  expect(refused.status).toBe(503)
  expect(await refused.json()).toMatchObject({ error: { code: 'control_unavailable' } })
  expect((await edge.admin('GET', '/tenants/never-made')).status).toBe(404)
})
