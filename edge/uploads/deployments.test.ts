import { evictAllDurableObjects } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { AdapterList, AliasList, AliasSummary, History } from '../../shared/api/deployments.ts'
import { ModelList } from '../../shared/api/models.ts'
import { makeAdapter, type TestAdapter } from '../../test/edge/adapter.ts'
import { stubs, TestEdge, type TestTenant, workerBackbone } from '../../test/edge/edge.ts'

const edge = new TestEdge()
let tenant: TestTenant
let next: TestAdapter
let seed = 500

beforeAll(() => edge.seedBackbone())
beforeEach(async () => {
  tenant = await edge.seedTenant()
  next = await publish()
  await stubs.behave({ tokens: [97] })
})
afterEach(() => {
  vi.restoreAllMocks()
})

async function publish(): Promise<TestAdapter> {
  seed += 1
  const adapter = await makeAdapter({ backbone: workerBackbone, seed, rows: 2 + Math.floor(seed / 0x300) })
  expect((await edge.own(tenant, 'POST', '/adapters', adapter.file)).status).toBe(201)
  return adapter
}

const put = (digest: string, more: object = {}) =>
  edge.own(tenant, 'PUT', '/aliases/tone', { digest, ...more })
const served = async (user?: string, isolate = edge) =>
  (await isolate.chat(tenant, user === undefined ? {} : { user })).headers.get('x-quartet-adapter')
const alias = async () => AliasSummary.parse(await (await edge.own(tenant, 'GET', '/aliases/tone')).json())
const history = async (query = '') =>
  History.parse(await (await edge.own(tenant, 'GET', `/aliases/tone/history?${query}`)).json())

async function expectRefusal(response: Response, status: number, code: string, message = /./) {
  expect(await response.json()).toMatchObject({ error: { code, message: expect.stringMatching(message) } })
  expect(response.status).toBe(status)
}

describe('a deployment', () => {
  test('moves the alias, and is in its history with who did it', async () => {
    expect((await put(next.digest)).status).toBe(200)
    expect(await served()).toBe(next.digest)
    expect((await history()).data).toMatchObject([
      { version: 2, action: 'deploy', digest: next.digest, by: expect.stringMatching(/^key_/) },
      { version: 1, action: 'deploy', digest: tenant.adapter.digest, by: 'admin' },
    ])
  })

  test('of what is deployed already changes nothing', async () => {
    expect(await (await put(tenant.adapter.digest)).json()).toMatchObject({ version: 1 })
    expect((await history()).data).toHaveLength(1)
  })

  test('two at once are both in the history, and the last is what is served', async () => {
    const third = await publish()
    const answers = await Promise.all([next, third].map(({ digest }) => put(digest)))
    expect(answers.map(({ status }) => status)).toEqual([200, 200])
    const { data } = await history()
    expect(data.map(({ version }) => version)).toEqual([3, 2, 1])
    expect(new Set(data.slice(0, 2).map(({ digest }) => digest))).toEqual(
      new Set([next.digest, third.digest]),
    )
    expect(await served(undefined, new TestEdge())).toBe(data[0]?.digest)
  })

  test('two at once that expect the same version: one is made, the other told', async () => {
    const third = await publish()
    const answers = await Promise.all([next, third].map(({ digest }) => put(digest, { if_version: 1 })))
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 409])
    expect((await history()).data).toHaveLength(2)
  })

  test('is deleted only where it has the version that is expected', async () => {
    const { id } = tenant
    const remove = (if_version: number) => edge.admin('DELETE', `/tenants/${id}/aliases/tone`, { if_version })
    expect((await remove(7)).status).toBe(409)
    expect((await edge.admin('GET', `/tenants/${id}/aliases/tone`)).status).toBe(200)
    expect((await remove(1)).status).toBe(204)
  })

  test('may expect that the alias is new', async () => {
    const create = () => edge.own(tenant, 'PUT', '/aliases/fresh', { digest: next.digest, if_version: 0 })
    expect((await create()).status).toBe(200)
    await expectRefusal(await create(), 409, 'conflict', /has version 1, not 0/)
  })

  test.each(['tiny', 'a%2Fb', '..%2F..%2Fadmin', '%2e%2e', 'UPPER'])(
    'to an alias named %s is refused',
    async (name) => {
      const answer = await edge.own(tenant, 'PUT', `/aliases/${name}`, { digest: next.digest })
      expect([400, 404, 409]).toContain(answer.status)
      expect((await edge.own(tenant, 'GET', '/aliases')).status).toBe(200)
      expect(AliasList.parse(await (await edge.own(tenant, 'GET', '/aliases')).json()).data).toHaveLength(1)
    },
  )
})

describe('a rollback', () => {
  test('of a deleted alias names the adapter to deploy; of one that never was, nothing', async () => {
    await put(next.digest)
    expect((await edge.own(tenant, 'DELETE', '/aliases/tone')).status).toBe(204)
    const remedy = new RegExp(`was deleted; .*version 2.*quartet alias set tone ${next.digest}`)
    await expectRefusal(await edge.own(tenant, 'POST', '/aliases/tone/rollback'), 404, 'not_found', remedy)
    await expectRefusal(
      await edge.own(tenant, 'POST', '/aliases/never/rollback'),
      404,
      'not_found',
      /no alias never; GET …\/aliases lists those there are$/,
    )
    const shown = await edge.own(tenant, 'GET', '/aliases/tone')
    await expectRefusal(shown, 404, 'not_found', /aliases\/tone\/history tells what a deleted one named/)
    expect((await put(next.digest)).status).toBe(200)
  })

  test('goes to the adapter before, and forth again', async () => {
    await put(next.digest)
    const back = await edge.own(tenant, 'POST', '/aliases/tone/rollback')
    expect(await back.json()).toMatchObject({ digest: tenant.adapter.digest, version: 3 })
    expect(await served()).toBe(tenant.adapter.digest)
    await edge.own(tenant, 'POST', '/aliases/tone/rollback')
    expect(await served()).toBe(next.digest)
  })

  test('goes to the version that is named', async () => {
    const third = await publish()
    await put(next.digest)
    await put(third.digest)
    await edge.own(tenant, 'POST', '/aliases/tone/rollback', { version: 1 })
    expect(await served()).toBe(tenant.adapter.digest)
    expect((await history('limit=1')).data).toMatchObject([{ version: 4, action: 'rollback' }])
    await expectRefusal(
      await edge.own(tenant, 'POST', '/aliases/tone/rollback', { version: 9 }),
      409,
      'conflict',
      /no version 9/,
    )
  })

  test('with nothing to go back to is refused, and so is one to an adapter that was deleted', async () => {
    await expectRefusal(await edge.own(tenant, 'POST', '/aliases/tone/rollback'), 409, 'conflict', /never/)
    await put(next.digest)
    expect((await edge.own(tenant, 'DELETE', `/adapters/${tenant.adapter.digest}`)).status).toBe(204)
    await expectRefusal(
      await edge.own(tenant, 'POST', '/aliases/tone/rollback'),
      409,
      'conflict',
      /was deleted; upload it again/,
    )
  })

  test('under load serves each request one of the two, and the old one alone within the bound', async () => {
    await put(next.digest)
    await served()
    const load = Promise.all(Array.from({ length: 30 }, () => edge.chat(tenant)))
    await edge.own(tenant, 'POST', '/aliases/tone/rollback')
    for (const answer of await load) {
      expect(answer.status).toBe(200)
      expect([tenant.adapter.digest, next.digest]).toContain(answer.headers.get('x-quartet-adapter'))
    }
    expect(await served()).toBe(tenant.adapter.digest)
  })
})

describe('a canary', () => {
  const canary = (body: object) =>
    edge.own(tenant, 'PUT', '/aliases/tone/canary', { digest: next.digest, percent: 10, ...body })
  const users = Array.from({ length: 200 }, (_, at) => `user-${at}`)
  const takers = async () => {
    const taken = await Promise.all(
      users.map(async (user) => ((await served(user)) === next.digest ? [user] : [])),
    )
    return taken.flat()
  }

  test('takes its share of the requests', async () => {
    const [requests, percent] = [200, 20]
    expect((await canary({ percent })).status).toBe(200)
    const answered = await Promise.all(Array.from({ length: requests }, () => served('the-same-user')))
    const taken = answered.filter((digest) => digest === next.digest).length
    // Five standard deviations of a binomial count.
    expect(Math.abs(taken - requests * 0.2)).toBeLessThan(5 * Math.sqrt(requests * 0.2 * 0.8))
  })

  test('by user takes the same users each time, and keeps them when it grows', async () => {
    await canary({ percent: 10, by: 'user' })
    const few = await takers()
    expect(few.length).toBeGreaterThan(5)
    expect(few.length).toBeLessThan(40)
    expect(await takers()).toEqual(few)
    await canary({ percent: 60, by: 'user' })
    const many = await takers()
    expect(many.length).toBeGreaterThan(90)
    expect(many).toEqual(expect.arrayContaining(few))
  })

  test('is promoted, or aborted', async () => {
    await canary({})
    expect(await (await edge.own(tenant, 'DELETE', '/aliases/tone/canary')).json()).toMatchObject({
      digest: tenant.adapter.digest,
      canary: null,
    })
    await canary({})
    expect((await edge.own(tenant, 'POST', '/aliases/tone/promote')).status).toBe(200)
    expect(new Set(await Promise.all(users.slice(0, 20).map((user) => served(user))))).toEqual(
      new Set([next.digest]),
    )
    await expectRefusal(await edge.own(tenant, 'POST', '/aliases/tone/promote'), 409, 'conflict', /no canary/)
    expect((await history()).data.map(({ action }) => action)).toEqual([
      'promote',
      'canary',
      'abort',
      'canary',
      'deploy',
    ])
  })

  test('ends with a deployment or a rollback', async () => {
    await canary({})
    await put(next.digest)
    expect((await alias()).canary).toBeNull()
    await edge.own(tenant, 'PUT', '/aliases/tone/canary', { digest: tenant.adapter.digest, percent: 5 })
    await edge.own(tenant, 'POST', '/aliases/tone/rollback')
    expect(await alias()).toMatchObject({ digest: tenant.adapter.digest, canary: null })
  })

  test.each([
    ['of 0', { percent: 0 }, 'percent'],
    ['of 100', { percent: 100 }, 'percent'],
    ['by something else', { by: 'moon' }, 'by'],
  ])('%s is refused', async (_name, body, param) => {
    const answer = await canary(body)
    expect(answer.status).toBe(400)
    expect(await answer.json()).toMatchObject({ error: { param } })
  })

  test('to what is deployed, or to what the tenant does not have, is refused', async () => {
    await expectRefusal(await canary({ digest: tenant.adapter.digest }), 409, 'conflict')
    await expectRefusal(await canary({ digest: '0'.repeat(64) }), 404, 'not_found')
  })
})

describe('an adapter', () => {
  test('that an alias sends requests to is not deleted, and the alias is named', async () => {
    const remove = (digest: string) => edge.own(tenant, 'DELETE', `/adapters/${digest}`)
    await expectRefusal(await remove(tenant.adapter.digest), 409, 'adapter_in_use', /the alias tone/)
    await edge.own(tenant, 'PUT', '/aliases/tone/canary', { digest: next.digest, percent: 1 })
    await expectRefusal(await remove(next.digest), 409, 'adapter_in_use', /the alias tone/)
    await edge.own(tenant, 'DELETE', '/aliases/tone/canary')
    expect((await remove(next.digest)).status).toBe(204)
    await expectRefusal(await remove(next.digest), 404, 'not_found')
    expect(await env.STORE.get(`adapter:${tenant.id}:${next.digest}`)).toBeNull()
  })

  test('may be uploaded again after it was deleted', async () => {
    await edge.own(tenant, 'DELETE', `/adapters/${next.digest}`)
    expect((await edge.own(tenant, 'POST', '/adapters', next.file)).status).toBe(201)
    await put(next.digest)
    await stubs.behave({ tokens: [97], adapterMissing: true })
    expect((await edge.chat(tenant)).status).toBe(200)
  })
})

describe('lists', () => {
  const get = async (path: string) => (await edge.own(tenant, 'GET', path)).json()

  test('come in pages that together are the whole', async () => {
    for (const name of ['b', 'c', 'd'])
      await edge.own(tenant, 'PUT', `/aliases/${name}`, { digest: next.digest })
    const pages = async (path: string, page: typeof ModelList | typeof AdapterList | typeof AliasList) => {
      const ids: string[] = []
      for (let after = ''; ; ) {
        const { data, has_more, last_id } = page.parse(await get(`${path}?limit=2${after}`))
        ids.push(
          ...data.map((entry) => ('id' in entry ? entry.id : 'alias' in entry ? entry.alias : entry.digest)),
        )
        if (!has_more) return ids
        after = `&after=${last_id}`
      }
    }
    expect(await pages('/models', ModelList)).toEqual(['b', 'c', 'd', 'tone', 'tiny'])
    expect(await pages('/aliases', AliasList)).toEqual(['b', 'c', 'd', 'tone'])
    expect(await pages('/adapters', AdapterList)).toEqual([tenant.adapter.digest, next.digest])
  })

  test.each(['limit=0', 'limit=1001', 'limit=two', 'after=', 'page=2'])('refuse %s', async (query) => {
    expect((await edge.own(tenant, 'GET', `/models?${query}`)).status).toBe(400)
  })

  test('are read by a warm isolate without a Durable Object', async () => {
    const isolate = new TestEdge()
    const paths = ['/models', '/adapters', '/aliases', '/models/tone']
    for (const path of paths) await isolate.own(tenant, 'GET', path)
    const objects = [env.TENANTS, env.FEED, env.AUDIT, env.BUDGETS].map((namespace) =>
      vi.spyOn(namespace, 'get'),
    )
    for (const path of paths) expect((await isolate.own(tenant, 'GET', path)).status).toBe(200)
    for (const object of objects) expect(object).not.toHaveBeenCalled()
  })
})

describe('a key of one tenant', () => {
  test('never lists, reads, deploys or deletes what is another’s', async () => {
    const other = await edge.seedTenant()
    const theirs = other.adapter.digest
    const { data } = AdapterList.parse(await (await edge.own(tenant, 'GET', '/adapters')).json())
    expect(data.map(({ digest }) => digest)).not.toContain(theirs)
    expect((await edge.own(tenant, 'GET', `/adapters/${theirs}`)).status).toBe(404)
    expect((await edge.own(tenant, 'DELETE', `/adapters/${theirs}`)).status).toBe(404)
    expect((await put(theirs)).status).toBe(404)
    expect(
      (await edge.own(tenant, 'PUT', '/aliases/tone/canary', { digest: theirs, percent: 50 })).status,
    ).toBe(404)
    expect((await edge.chat(other)).headers.get('x-quartet-adapter')).toBe(theirs)
  })
})

test('deployments outlive a restart of every object', async () => {
  await put(next.digest)
  await evictAllDurableObjects()
  expect(await served(undefined, new TestEdge())).toBe(next.digest)
  expect((await history()).data).toHaveLength(2)
  expect((await edge.own(tenant, 'POST', '/aliases/tone/rollback')).status).toBe(200)
})
