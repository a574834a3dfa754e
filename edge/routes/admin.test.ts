import { env } from 'cloudflare:workers'
import { afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { CreateKeyResponse, TenantList, TenantSummary } from '../../shared/api/admin.ts'
import { sha256Hex } from '../../shared/digest.ts'
import { BackboneDigest, BackboneSlug } from '../../shared/ids.ts'
import { maxAdapterBytes } from '../../shared/wire.ts'
import { makeAdapter } from '../../test/edge/adapter.ts'
import { stubs, TestEdge, type TestTenant, workerBackbone } from '../../test/edge/edge.ts'
import { tinyTokenizer } from '../../test/fakes/tiny-tokenizer.ts'

const edge = new TestEdge()
let tenant: TestTenant

beforeAll(async () => {
  await edge.seedBackbone()
})
beforeEach(async () => {
  tenant = await edge.seedTenant()
  await stubs.behave({ tokens: [97] })
})
afterEach(() => {
  vi.useRealTimers()
})

const summary = async (id = tenant.id) =>
  TenantSummary.parse(await (await edge.admin('GET', `/tenants/${id}`)).json())
async function expectRefusal(response: Response, status: number, code: string, message = /./) {
  expect(await response.json()).toMatchObject({ error: { code, message: expect.stringMatching(message) } })
  expect(response.status).toBe(status)
}

describe('tenants', () => {
  test('are listed, and shown with what they have but without a secret', async () => {
    const { tenants } = TenantList.parse(await (await edge.admin('GET', '/tenants')).json())
    expect(tenants.map(({ id }) => id)).toContain(tenant.id)
    const text = await (await edge.admin('GET', `/tenants/${tenant.id}`)).text()
    expect(text).not.toContain(tenant.key)
    expect(text).not.toContain(await sha256Hex(tenant.key))
    const { adapters, aliases, keys } = TenantSummary.parse(JSON.parse(text))
    expect(adapters).toMatchObject([
      { digest: tenant.adapter.digest, backbone: 'tiny', kind: 'static', rows: 2 },
    ])
    expect(aliases).toMatchObject([{ alias: 'tone', digest: tenant.adapter.digest }])
    expect(keys).toHaveLength(1)
  })

  test('are created once', async () => {
    await expectRefusal(await edge.admin('POST', '/tenants', { id: tenant.id }), 409, 'conflict')
    expect((await edge.chat(tenant)).status).toBe(200)
  })

  test.each(['UPPER', '', 'a/b', '-a', 'a'.repeat(65)])('are refused the id %j', async (id) => {
    await expectRefusal(
      await edge.admin('POST', '/tenants', { id }),
      400,
      'invalid_request',
      /^id: a tenant id/,
    )
  })

  test('that do not exist have nothing', async () => {
    await expectRefusal(await edge.admin('GET', '/tenants/nobody'), 404, 'not_found')
    await expectRefusal(await edge.admin('POST', '/tenants/nobody/keys', {}), 404, 'not_found')
    await expectRefusal(await edge.admin('GET', '/tenants/nobody/budget'), 404, 'not_found')
    await expectRefusal(
      await edge.admin('PUT', `/tenants/nobody/adapters/${tenant.adapter.digest}`, tenant.adapter.file),
      404,
      'not_found',
    )
  })
})

describe('a tenant', () => {
  const patch = (change: object) => edge.admin('PATCH', `/tenants/${tenant.id}`, change)

  test('is listed in pages that together are all of them', async () => {
    const ids: string[] = []
    for (let after = ''; ; ) {
      const { has_more, last_id, tenants } = TenantList.parse(
        await (await edge.admin('GET', `/tenants?limit=2${after}`)).json(),
      )
      ids.push(...tenants.map(({ id }) => id))
      if (!has_more) break
      after = `&after=${last_id}`
    }
    expect(ids).toEqual([...new Set(ids)].sort())
    expect(ids).toContain(tenant.id)
    await expectRefusal(await edge.admin('GET', '/tenants?limit=0'), 400, 'invalid_request', /^limit: /)
  })

  test('keeps the limits that a change does not name, and loses those that it lifts', async () => {
    await patch({ policy: { requestsPerMinute: 60, tokensPerDay: 1_000 } })
    await patch({ policy: { tokensPerDay: null, adapterBytes: 5_000 } })
    expect((await summary()).policy).toMatchObject({
      requestsPerMinute: 60,
      tokensPerDay: null,
      adapterBytes: 5_000,
      tokensPerMonth: null,
    })
  })

  test.each([
    [{}, null, /status, policy or both/],
    [{ status: 'gone' }, 'status', /"active" or "suspended"/],
    [{ policy: { requestsPerMinute: -1 } }, 'policy.requestsPerMinute', /at least 0/],
    [{ policy: { requestsPerHour: 1 } }, 'policy.requestsPerHour', /unknown parameter/],
    [{ policy: { aliases: ['A B'] } }, 'policy.aliases[0]', /an alias has/],
  ])('is refused the change %j', async (change, param, message) => {
    const answer = await patch(change)
    expect(answer.status).toBe(400)
    expect(await answer.json()).toMatchObject({
      error: { param, message: expect.stringMatching(message) },
    })
  })

  test('may ask only for the models that its policy names, and sees no others', async () => {
    await patch({ policy: { aliases: ['tone'] } })
    expect((await edge.chat(tenant)).status).toBe(200)
    await expectRefusal(await edge.chat(tenant, { model: 'tiny' }), 403, 'model_not_allowed', /tiny/)
    await expectRefusal(await edge.chat(tenant, { model: 'nobody' }), 404, 'model_not_found')
    const models = await (await edge.own(tenant, 'GET', '/models')).json()
    expect(models).toMatchObject({ data: [{ id: 'tone' }] })
    await patch({ policy: { aliases: null } })
    expect((await edge.chat(tenant, { model: 'tiny' })).status).toBe(200)
  })

  test('that is deleted leaves nothing behind, and its name can be used again by one that has nothing', async () => {
    expect((await edge.admin('DELETE', `/tenants/${tenant.id}`)).status).toBe(204)
    await expectRefusal(await edge.admin('GET', `/tenants/${tenant.id}`), 404, 'not_found')
    await expectRefusal(await edge.admin('DELETE', `/tenants/${tenant.id}`), 404, 'not_found')
    const keys = (await env.STORE.list()).keys.map(({ name }) => name)
    expect(keys.filter((name) => name.includes(`:${tenant.id}`))).toEqual([])
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 5_000 })
    expect((await edge.admin('POST', '/tenants', { id: tenant.id })).status).toBe(201)
    await expectRefusal(await edge.chat(tenant), 401, 'invalid_api_key')
    expect(await summary()).toMatchObject({ keys: [], adapters: [], aliases: [] })
  })

  test('that is deleted leaves its name to nobody while some isolate may let its keys in, so that they change nothing of the next', async () => {
    const isolate = new TestEdge()
    expect((await isolate.chat(tenant)).status).toBe(200)
    expect((await edge.admin('DELETE', `/tenants/${tenant.id}`)).status).toBe(204)
    const create = () => edge.admin('POST', '/tenants', { id: tenant.id })
    const refused = await create()
    expect(refused.headers.get('retry-after')).toBe('5')
    await expectRefusal(refused, 409, 'conflict', /was deleted just now.*retry/)
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 5_000 })
    expect((await create()).status).toBe(201)
    const { file } = await makeAdapter({ backbone: workerBackbone, seed: 810 })
    const headers = { authorization: `Bearer ${tenant.key}` }
    const late = await isolate.fetch('/v1/adapters?alias=tone', { method: 'POST', headers, body: file })
    await expectRefusal(late, 401, 'invalid_api_key')
    expect(await summary()).toMatchObject({ adapters: [], aliases: [] })
  })
})

describe('keys', () => {
  test('that expire in the past, or in seconds, are refused', async () => {
    await expectRefusal(
      await edge.admin('POST', `/tenants/${tenant.id}/keys`, { expiresAt: Math.floor(Date.now() / 1000) }),
      400,
      'invalid_request',
      /^expiresAt: lies in the past; give milliseconds/,
    )
  })

  test('are kept as hashes only', async () => {
    const { keys } = await env.STORE.list()
    const values = await Promise.all(keys.map(({ name }) => env.STORE.get(name)))
    for (const value of [...keys.map(({ name }) => name), ...values]) expect(value).not.toContain(tenant.key)
  })

  test('that are revoked stop working within five seconds, on an isolate that has just used them', async () => {
    const created = await edge.admin('POST', `/tenants/${tenant.id}/keys`, { name: 'spare' })
    const { id, key } = CreateKeyResponse.parse(await created.json())
    expect((await edge.chat({ key })).status).toBe(200)
    expect((await edge.admin('DELETE', `/tenants/${tenant.id}/keys/${id}`)).status).toBe(204)
    const now = Date.now()
    vi.useFakeTimers({ toFake: ['Date'], now: now + 5_000 })
    await expectRefusal(await edge.chat({ key }), 401, 'invalid_api_key')
    expect((await edge.chat(tenant)).status).toBe(200)
  })

  test('that are not there cannot be revoked', async () => {
    await expectRefusal(
      await edge.admin('DELETE', `/tenants/${tenant.id}/keys/key_000000000000`),
      404,
      'not_found',
    )
  })
})

describe('an adapter', () => {
  const put = (digest: string, file: Uint8Array) =>
    edge.admin('PUT', `/tenants/${tenant.id}/adapters/${digest}`, file)

  test('may be put again', async () => {
    expect((await put(tenant.adapter.digest, tenant.adapter.file)).status).toBe(200)
    expect((await summary()).adapters).toHaveLength(1)
  })

  test('is refused under another’s hash', async () => {
    await expectRefusal(await put('0'.repeat(64), tenant.adapter.file), 400, 'digest_mismatch')
  })

  test('is refused when it holds NaN, is cut short, or lies about its length', async () => {
    const nan = tenant.adapter.file.slice()
    nan.set([0xff, 0x7f], nan.length - 2)
    const cut = tenant.adapter.file.slice(0, -2)
    const lying = tenant.adapter.file.slice()
    new DataView(lying.buffer).setBigUint64(0, 1n << 60n, true)
    for (const file of [nan, cut, lying, new Uint8Array()])
      await expectRefusal(await put(await sha256Hex(file), file), 400, 'adapter_invalid')
    expect((await summary()).adapters).toHaveLength(1)
  })

  test('is refused for a backbone that is not served, by name or by weights', async () => {
    const other = { ...workerBackbone, slug: BackboneSlug.parse('other') }
    const changed = { ...workerBackbone, digest: BackboneDigest.parse('cd'.repeat(32)) }
    for (const backbone of [other, changed]) {
      const { digest, file } = await makeAdapter({ backbone, seed: 1 })
      await expectRefusal(await put(digest, file), 400, 'backbone_mismatch')
    }
  })

  test('is refused when it is too large, before it is read', async () => {
    await expectRefusal(
      await put(tenant.adapter.digest, new Uint8Array(maxAdapterBytes + 1)),
      413,
      'body_too_large',
    )
  })
})

describe('an alias', () => {
  const put = (alias: string, digest: string) =>
    edge.admin('PUT', `/tenants/${tenant.id}/aliases/${alias}`, { digest })

  test('moves to another adapter and back', async () => {
    const next = await makeAdapter({ backbone: workerBackbone, seed: 99 })
    await edge.admin('PUT', `/tenants/${tenant.id}/adapters/${next.digest}`, next.file)
    const served = async () => (await new TestEdge().chat(tenant)).headers.get('x-quartet-adapter')
    expect((await put('tone', next.digest)).status).toBe(200)
    expect(await served()).toBe(next.digest)
    expect((await put('tone', tenant.adapter.digest)).status).toBe(200)
    expect(await served()).toBe(tenant.adapter.digest)
  })

  test('is served at once, even by an isolate that knows the tenant without it', async () => {
    await edge.chat(tenant)
    expect((await put('brand-new', tenant.adapter.digest)).status).toBe(200)
    expect((await edge.chat(tenant, { model: 'brand-new' })).status).toBe(200)
  })

  test('can be deleted', async () => {
    const path = `/tenants/${tenant.id}/aliases/tone`
    expect((await edge.admin('DELETE', path)).status).toBe(204)
    await expectRefusal(await edge.admin('DELETE', path), 404, 'not_found')
    expect((await new TestEdge().chat(tenant)).status).toBe(404)
  })

  test('cannot point to an adapter that the tenant does not have', async () => {
    const { adapter } = await edge.seedTenant()
    await expectRefusal(await put('tone', adapter.digest), 404, 'not_found')
  })

  test('cannot have a backbone’s name', async () => {
    await expectRefusal(await put('tiny', tenant.adapter.digest), 409, 'conflict')
  })

  test.each(['UPPER', 'a%2Fb', '__proto__', 'a'.repeat(70)])('cannot be named %s', async (alias) => {
    await expectRefusal(await put(alias, tenant.adapter.digest), 400, 'invalid_request', /an alias has/)
  })

  test('that many move at once ends where the directory says', async () => {
    const adapters = await Promise.all(
      [11, 12, 13, 14].map((seed) => makeAdapter({ backbone: workerBackbone, seed })),
    )
    for (const { digest, file } of adapters)
      await edge.admin('PUT', `/tenants/${tenant.id}/adapters/${digest}`, file)
    await Promise.all(adapters.map(({ digest }) => put('tone', digest)))
    const { aliases } = await summary()
    expect((await new TestEdge().chat(tenant)).headers.get('x-quartet-adapter')).toBe(aliases[0]?.digest)
  })
})

describe('a backbone', () => {
  const put = (change: object) =>
    edge.admin('PUT', '/backbones/tiny', { backbone: workerBackbone, tokenizer: tinyTokenizer, ...change })

  test('is listed', async () => {
    expect(await (await edge.admin('GET', '/backbones')).json()).toEqual({
      backbones: [{ slug: 'tiny', digest: workerBackbone.digest, contextLength: 512 }],
    })
  })

  test.each([
    ['a tokenizer that is none', { tokenizer: {} }, /tokenizer/],
    [
      'a tokenizer of an unknown kind',
      { tokenizer: { ...tinyTokenizer, model: { type: 'Unigram' } } },
      /BPE/,
    ],
    ['a decoder of an unknown kind', { tokenizer: { ...tinyTokenizer, decoder: { type: 'CTC' } } }, /CTC/],
    [
      'a template that writes nothing',
      { backbone: { ...workerBackbone, chat: { template: '{# #}' } } },
      /template.*renders them to nothing/,
    ],
    [
      'a template that runs without end',
      {
        backbone: {
          ...workerBackbone,
          chat: { template: '{% for i in range(1000000000) %}x{% endfor %}{{ messages[0].content }}' },
        },
      },
      /template.*takes more than [0-9]+ steps/,
    ],
    [
      'a template whose generation header cannot be told',
      {
        backbone: {
          ...workerBackbone,
          chat: {
            template:
              "{{ messages[0].content }}{% if not add_generation_prompt %}{{ raise_exception('not so') }}{% endif %}",
          },
        },
      },
      /template.*refuses a question without a generation prompt: not so/,
    ],
    [
      'a template that nests without end',
      {
        backbone: {
          ...workerBackbone,
          chat: { template: '{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}{{ messages[0].content }}' },
        },
      },
      /template.*nests too deep/,
    ],
    ['a broken template', { backbone: { ...workerBackbone, chat: { template: '{% if %}' } } }, /template/],
    ['another slug than the path', { backbone: { ...workerBackbone, slug: 'other' } }, /path/],
  ])('with %s is refused', async (_name, change, message) => {
    await expectRefusal(await put(change), 400, 'invalid_request', message)
  })
})
