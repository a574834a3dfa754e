import { env } from 'cloudflare:workers'
import { beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { ModelList } from '../../shared/api/models.ts'
import { stubs, TestEdge, type TestTenant } from '../testing/edge.ts'

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

test('a warm request reads neither KV nor a Durable Object', async () => {
  await edge.chat(mine)
  const objects = [env.TENANTS, env.FEED, env.AUDIT].map((namespace) => vi.spyOn(namespace, 'get'))
  const reads = [vi.spyOn(env.STORE, 'get'), ...objects]
  await edge.chat(mine)
  for (const read of reads) expect(read).not.toHaveBeenCalled()
  vi.restoreAllMocks()
})
