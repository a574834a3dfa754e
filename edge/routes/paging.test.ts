import { beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { AdapterList, AliasList } from '../../shared/api/deployments.ts'
import { FileList, FileObject } from '../../shared/api/files.ts'
import { ModelList } from '../../shared/api/models.ts'
import { makeAdapter } from '../../test/edge/adapter.ts'
import { TestEdge, type TestTenant, workerBackbone } from '../../test/edge/edge.ts'

const edge = new TestEdge()
let tenant: TestTenant

beforeAll(() => edge.seedBackbone())
beforeEach(async () => {
  tenant = await edge.seedTenant()
})

const get = async (path: string) => (await edge.own(tenant, 'GET', path)).json()
const deploy = async (...names: string[]) => {
  for (const name of names)
    await edge.own(tenant, 'PUT', `/aliases/${name}`, { digest: tenant.adapter.digest })
}

describe('a list, read in pages by somebody who deletes what each page shows, is read whole:', () => {
  test('aliases', async () => {
    await deploy('b', 'c', 'd')
    const seen: string[] = []
    for (let after = ''; ; ) {
      const { data, has_more, last_id } = AliasList.parse(await get(`/aliases?limit=1${after}`))
      for (const { alias } of data) {
        seen.push(alias)
        expect((await edge.own(tenant, 'DELETE', `/aliases/${alias}`)).status).toBe(204)
      }
      if (!has_more) break
      after = `&after=${last_id}`
    }
    expect(seen).toEqual(['b', 'c', 'd', 'tone'])
  })

  test('models', async () => {
    await deploy('b', 'zz')
    const first = ModelList.parse(await get('/models?limit=2'))
    expect(first.data.map(({ id }) => id)).toEqual(['b', 'tone'])
    await edge.own(tenant, 'DELETE', '/aliases/tone')
    const second = ModelList.parse(await get(`/models?limit=2&after=${first.last_id}`))
    expect(second.data.map(({ id }) => id)).toEqual(['zz', 'tiny'])
    expect(ModelList.parse(await get('/models?after=tiny')).data).toEqual([])
  })

  test('files, some of which stay', async () => {
    const files: string[] = []
    for (let at = 0; at < 5; at++) {
      const form = new FormData()
      form.append('purpose', 'fine-tune')
      form.append('file', new Blob([JSON.stringify({ prompt: 'a', completion: 'b' })]), 'a.jsonl')
      const headers = { authorization: `Bearer ${tenant.key}` }
      const answer = await edge.fetch('/v1/files', { method: 'POST', headers, body: form })
      files.unshift(FileObject.parse(await answer.json()).id)
    }
    const seen: string[] = []
    for (let after = ''; ; ) {
      const { data, has_more, last_id } = FileList.parse(await get(`/files?limit=2${after}`))
      seen.push(...data.map(({ id }) => id))
      expect((await edge.own(tenant, 'DELETE', `/files/${last_id}`)).status).toBe(200)
      if (!has_more) break
      after = `&after=${last_id}`
    }
    expect(seen).toEqual(files)
  })

  test('adapters', async () => {
    await edge.own(tenant, 'DELETE', '/aliases/tone')
    const digests = [tenant.adapter.digest]
    for (let seed = 0; seed < 3; seed++) {
      const adapter = await makeAdapter({ backbone: workerBackbone, seed: 6_000 + seed })
      await edge.own(tenant, 'POST', '/adapters', adapter.file)
      digests.push(adapter.digest)
    }
    const seen: string[] = []
    for (let after = ''; ; ) {
      const { data, has_more, last_id } = AdapterList.parse(await get(`/adapters?limit=1${after}`))
      for (const { digest } of data) {
        seen.push(digest)
        expect((await edge.own(tenant, 'DELETE', `/adapters/${digest}`)).status).toBe(204)
      }
      if (!has_more) break
      after = `&after=${last_id}`
    }
    expect(seen).toEqual(digests)
  })
})

test('a list of adapters goes on behind a digest as well, while it is there', async () => {
  const { digest } = tenant.adapter
  expect(AdapterList.parse(await get(`/adapters?after=${digest}`)).data).toEqual([])
  for (const after of ['nobody', '0'.repeat(64)])
    expect((await edge.own(tenant, 'GET', `/adapters?after=${after}`)).status).toBe(400)
})

test('aliases stand in one order for their tenant and for operators, whatever their names', async () => {
  await deploy('9', '10', 'a-b', 'a.b', 'a')
  const own = AliasList.parse(await get('/aliases'))
  const admins = AliasList.parse(await (await edge.admin('GET', `/tenants/${tenant.id}/aliases`)).json())
  expect(own.data.map(({ alias }) => alias)).toEqual(['10', '9', 'a', 'a-b', 'a.b', 'tone'])
  expect(admins).toEqual(own)
})
