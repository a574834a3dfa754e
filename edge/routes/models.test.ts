import { env } from 'cloudflare:workers'
import { afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { AliasSummary } from '../../shared/api/deployments.ts'
import { Model, ModelList } from '../../shared/api/models.ts'
import { BackboneSlug } from '../../shared/ids.ts'
import { makeAdapter, type TestAdapter } from '../../test/edge/adapter.ts'
import { stubs, TestEdge, type TestTenant, workerBackbone } from '../../test/edge/edge.ts'
import { tinyTokenizer } from '../../test/fakes/tiny-tokenizer.ts'
import { maxDroppedBytes } from '../http/unread-body.ts'

const edge = new TestEdge()
let tenant: TestTenant
let next: TestAdapter

beforeAll(() => edge.seedBackbone())
beforeEach(async () => {
  tenant = await edge.seedTenant()
  next = await makeAdapter({ backbone: workerBackbone, seed: 4_242 })
  await edge.own(tenant, 'POST', '/adapters', next.file)
  await stubs.behave({ tokens: [97] })
})
afterEach(() => {
  vi.useRealTimers()
  vi.restoreAllMocks()
})

const deploy = (alias: string, digest: string = tenant.adapter.digest) =>
  edge.own(tenant, 'PUT', `/aliases/${alias}`, { digest })
const models = async (query = '', isolate = edge) =>
  ModelList.parse(await (await isolate.own(tenant, 'GET', `/models?${query}`)).json())
const model = async (id: string, isolate = edge) =>
  Model.parse(await (await isolate.own(tenant, 'GET', `/models/${id}`)).json())
const served = async (name: string, isolate = edge) =>
  (await isolate.chat(tenant, { model: name })).headers.get('x-quartet-adapter')

async function register(slug: string): Promise<void> {
  const backbone = { ...workerBackbone, slug: BackboneSlug.parse(slug) }
  const answer = await edge.admin('PUT', `/backbones/${slug}`, { backbone, tokenizer: tinyTokenizer })
  expect(answer.status).toBe(204)
}

describe('the name of a backbone', () => {
  test('means the untuned model, even where an alias had it before', async () => {
    await deploy('later')
    const isolate = new TestEdge()
    expect(await served('later', isolate)).toBe(tenant.adapter.digest)
    await register('later')
    expect(await served('later')).toBe('none')
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 5_000 })
    expect(await served('later', isolate)).toBe('none')
    expect(await model('later', isolate)).toMatchObject({ owned_by: 'quartet', backbone: 'later' })
  })

  test('is listed once, in pages that end', async () => {
    await deploy('twice')
    await register('twice')
    const ids: string[] = []
    for (let after = ''; ids.length < 20; ) {
      const page = await models(`limit=1${after}`)
      ids.push(...page.data.map(({ id }) => id))
      if (!page.has_more) break
      after = `&after=${page.last_id}`
    }
    expect(ids[0]).toBe('tone')
    expect(ids.slice(1)).toEqual([...new Set(ids.slice(1))].toSorted())
    expect(ids).toEqual(expect.arrayContaining(['tiny', 'twice']))
    expect((await models()).data.find(({ id }) => id === 'twice')).not.toHaveProperty('adapter')
  })

  test('takes no deployment of an alias that had it before, which can only be ended and deleted', async () => {
    await deploy('taken')
    await deploy('taken', next.digest)
    await edge.own(tenant, 'PUT', '/aliases/taken/canary', { digest: tenant.adapter.digest, percent: 5 })
    await register('taken')
    const refused = [
      await deploy('taken'),
      await edge.own(tenant, 'PUT', '/aliases/taken/canary', { digest: tenant.adapter.digest, percent: 9 }),
      await edge.own(tenant, 'POST', '/aliases/taken/promote'),
      await edge.own(tenant, 'POST', '/aliases/taken/rollback'),
    ]
    for (const answer of refused) {
      expect(answer.status).toBe(409)
      expect(await answer.json()).toMatchObject({
        error: { code: 'conflict', message: expect.stringMatching(/the name of a backbone/) },
      })
    }
    expect((await edge.own(tenant, 'DELETE', '/aliases/taken/canary')).status).toBe(200)
    expect((await edge.own(tenant, 'DELETE', '/aliases/taken')).status).toBe(204)
  })

  test('is refused as an alias of an upload before a byte of it is read', async () => {
    // The unread rest of a shorter one is read and dropped, so that the client gets the refusal.
    const announced = maxDroppedBytes + 1
    let pulls = 0
    const pull = (controller: ReadableStreamDefaultController) => {
      pulls += 1
      controller.enqueue(next.file)
      controller.close()
    }
    const answer = await edge.fetch('/v1/adapters?alias=tiny', {
      method: 'POST',
      headers: { authorization: `Bearer ${tenant.key}`, 'content-length': String(announced) },
      body: new ReadableStream({ pull }, { highWaterMark: 0 }),
    })
    expect(answer.status).toBe(409)
    expect(pulls).toBe(0)
  })
})

test('an alias with a canary is described by what is deployed, each time, as in the list', async () => {
  await edge.own(tenant, 'PUT', '/aliases/tone/canary', { digest: next.digest, percent: 50 })
  const listed = (await models()).data.find(({ id }) => id === 'tone')
  expect(listed?.adapter).toBe(tenant.adapter.digest)
  for (let time = 0; time < 12; time++) expect(await model('tone')).toEqual(listed)
})

test('a request for an alias reads KV once in seconds to know that no backbone has its name', async () => {
  const reads = vi.spyOn(env.STORE, 'get')
  const isolate = new TestEdge()
  for (let time = 0; time < 5; time++) await isolate.chat(tenant)
  expect(
    reads.mock.calls.map((args) => String(args[0])).filter((key) => key === 'backbone:tone'),
  ).toHaveLength(1)
})

test('rolling back an alias’s first canary ends it', async () => {
  await edge.own(tenant, 'PUT', '/aliases/tone/canary', { digest: next.digest, percent: 50 })
  const answer = await edge.own(tenant, 'POST', '/aliases/tone/rollback')
  expect(answer.status).toBe(200)
  expect(AliasSummary.parse(await answer.json())).toMatchObject({
    digest: tenant.adapter.digest,
    canary: null,
    version: 3,
  })
  expect((await edge.own(tenant, 'POST', '/aliases/tone/rollback')).status).toBe(409)
})
