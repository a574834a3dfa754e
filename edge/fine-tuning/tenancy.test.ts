import { runDurableObjectAlarm } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { beforeAll, expect, test } from 'vitest'
import { CreateKeyResponse } from '../../shared/api/admin.ts'
import { FileObject } from '../../shared/api/files.ts'
import { TestEdge } from '../../test/edge/edge.ts'

const edge = new TestEdge()

beforeAll(() => edge.seedBackbone())

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
  expect((await edge.admin('DELETE', `/tenants/${old.id}`)).status).toBe(204)
  await expect
    .poll(async () => (await edge.admin('POST', '/tenants', { id: old.id })).status, { timeout: 5_000 })
    .toBe(201)
  const created = await edge.admin('POST', `/tenants/${old.id}/keys`, {})
  const heir = CreateKeyResponse.parse(await created.json())
  for (const path of ['/files', '/fine_tuning/jobs', '/batches'])
    expect(await (await edge.own(heir, 'GET', path)).json(), path).toMatchObject({ data: [] })
  expect((await edge.own(heir, 'GET', `/files/${training_file}/content`)).status).toBe(404)
  await runDurableObjectAlarm(env.TRAINING.get(env.TRAINING.idFromName(old.id)))
  await expect.poll(async () => (await env.FILES.list({ prefix: `${old.id}/` })).objects).toEqual([])
})
