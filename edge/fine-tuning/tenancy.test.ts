import { runDurableObjectAlarm } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { afterEach, beforeAll, expect, test, vi } from 'vitest'
import { CreateKeyResponse } from '../../shared/api/admin.ts'
import { AliasDetail } from '../../shared/api/deployments.ts'
import { FileList, FileObject } from '../../shared/api/files.ts'
import { makeAdapter } from '../../test/edge/adapter.ts'
import { TestEdge, workerBackbone } from '../../test/edge/edge.ts'

const edge = new TestEdge()

beforeAll(() => edge.seedBackbone())
afterEach(() => {
  vi.useRealTimers()
})

/** Deletes a tenant; the key of a new one with its name, as soon as there may be one. */
async function replaced({ id }: { readonly id: string }): Promise<{ readonly key: string }> {
  expect((await edge.admin('DELETE', `/tenants/${id}`)).status).toBe(204)
  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 5_000 })
  await expect
    .poll(async () => (await edge.admin('POST', '/tenants', { id })).status, { timeout: 5_000 })
    .toBe(201)
  vi.useRealTimers()
  const created = await edge.admin('POST', `/tenants/${id}/keys`, {})
  return CreateKeyResponse.parse(await created.json())
}

test('a tenant with a deleted one’s name sees none of its files, jobs and batches, and their bytes are removed', async () => {
  const old = await edge.seedTenant()
  const upload = async (purpose: string, line: object) => {
    const form = new FormData()
    form.append('purpose', purpose)
    form.append('file', new Blob([`${JSON.stringify(line)}\n`.repeat(2)]), 'a.jsonl')
    const headers = { authorization: `Bearer ${old.key}` }
    const answer = await edge.fetch('/v1/files', { method: 'POST', headers, body: form })
    return FileObject.parse(await answer.json()).id
  }
  const training_file = await upload('fine-tune', { prompt: 'a', completion: 'b' })
  const url = '/v1/completions'
  const input_file_id = await upload('batch', { custom_id: 'a', method: 'POST', url, body: { prompt: 'a' } })
  await edge.own(old, 'POST', '/fine_tuning/jobs', { model: 'tiny', training_file })
  await edge.own(old, 'POST', '/batches', { input_file_id, endpoint: url, completion_window: '24h' })
  const heir = await replaced(old)
  for (const path of ['/files', '/fine_tuning/jobs', '/batches'])
    expect(await (await edge.own(heir, 'GET', path)).json(), path).toMatchObject({ data: [] })
  expect((await edge.own(heir, 'GET', `/files/${training_file}/content`)).status).toBe(404)
  await runDurableObjectAlarm(env.TRAINING.get(env.TRAINING.idFromName(old.id)))
  await expect.poll(async () => (await env.FILES.list({ prefix: `${old.id}/` })).objects).toEqual([])
})

test('an adapter that arrives when its tenant is deleted moves no alias of the next tenant of the name', async () => {
  const old = await edge.seedTenant()
  const { readable, writable } = new FixedLengthStream(old.adapter.file.length)
  const writer = writable.getWriter()
  const headers = { authorization: `Bearer ${old.key}`, 'content-length': `${old.adapter.file.length}` }
  const arriving = edge.fetch('/v1/adapters?alias=tone', { method: 'POST', headers, body: readable })
  await writer.write(old.adapter.file.slice(0, 20))
  const heir = await replaced(old)
  const own = await makeAdapter({ backbone: workerBackbone, seed: 831 })
  await edge.own(heir, 'POST', '/adapters', old.adapter.file)
  expect((await edge.own(heir, 'POST', '/adapters?alias=tone', own.file)).status).toBe(201)
  await writer.write(old.adapter.file.slice(20))
  await writer.close()
  expect((await arriving).status).toBe(404)
  const alias = AliasDetail.parse(await (await edge.own(heir, 'GET', '/aliases/tone')).json())
  expect(alias).toMatchObject({ digest: own.digest, version: 1 })
})

test('a file that arrives when its tenant is deleted is none of the next tenant of the name, and leaves no bytes', async () => {
  const old = await edge.seedTenant()
  const { readable, writable } = new IdentityTransformStream()
  const writer = writable.getWriter()
  const write = (text: string) => writer.write(new TextEncoder().encode(text))
  const headers = {
    authorization: `Bearer ${old.key}`,
    'content-type': 'multipart/form-data; boundary=x',
  }
  const arriving = edge.fetch('/v1/files', { method: 'POST', headers, body: readable })
  const part = (name: string) => `--x\r\ncontent-disposition: form-data; name="${name}"\r\n\r\n`
  const line = { custom_id: 'a', method: 'POST', url: '/v1/completions', body: { prompt: 'a' } }
  await write(`${part('purpose')}batch\r\n${part('file')}${JSON.stringify(line)}\n`)
  const heir = await replaced(old)
  await write('\r\n--x--\r\n')
  await writer.close()
  expect((await arriving).status).toBe(404)
  expect(FileList.parse(await (await edge.own(heir, 'GET', '/files')).json()).data).toEqual([])
  await expect.poll(async () => (await env.FILES.list({ prefix: `${old.id}/` })).objects).toEqual([])
})
