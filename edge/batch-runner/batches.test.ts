import { evictDurableObject, runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { Batch, type BatchStatus } from '../../shared/api/batches.ts'
import { FileObject } from '../../shared/api/files.ts'
import type { BudgetReport } from '../../shared/api/usage.ts'
import { TenantId } from '../../shared/ids.ts'
import { stubs, TestEdge, type TestTenant } from '../../test/edge/edge.ts'
import { platformOf } from '../platform.ts'
import { readTenant } from '../tenants/read.ts'

const edge = new TestEdge()
let tenant: TestTenant

beforeAll(() => edge.seedBackbone())
beforeEach(async () => {
  tenant = await edge.seedTenant()
  await stubs.behave({ tokens: [97] })
})

const line = (custom_id: string, body: object = {}, url = '/v1/chat/completions') => ({
  custom_id,
  method: 'POST',
  url,
  body: { model: 'tone', messages: [{ role: 'user', content: 'hello' }], max_tokens: 4, ...body },
})

const upload = (lines: readonly object[], { key } = tenant): Promise<Response> =>
  uploadText(lines.map((each) => JSON.stringify(each)).join('\n'), { key })

async function uploadText(text: string, { key }: Pick<TestTenant, 'key'>): Promise<Response> {
  const form = new FormData()
  form.append('purpose', 'batch')
  form.append('file', new Blob([text]), 'requests.jsonl')
  return edge.fetch('/v1/files', { method: 'POST', headers: { authorization: `Bearer ${key}` }, body: form })
}

const create = async (lines: readonly object[], endpoint?: string): Promise<Batch> =>
  createOf(await upload(lines), endpoint)

async function createOf(uploaded: Response, endpoint = '/v1/chat/completions'): Promise<Batch> {
  const { id } = FileObject.parse(await uploaded.json())
  const asked = { input_file_id: id, endpoint, completion_window: '24h', metadata: { of: 'test' } }
  return Batch.parse(await (await edge.own(tenant, 'POST', '/batches', asked)).json())
}

const shown = async ({ id }: Batch) =>
  Batch.parse(await (await edge.own(tenant, 'GET', `/batches/${id}`)).json())

async function object() {
  const reader = { platform: platformOf(env), background: () => undefined }
  const record = await readTenant(TenantId.parse(tenant.id), reader)
  return env.BATCHES.get(env.BATCHES.idFromName(`${tenant.id} ${record?.createdAt ?? 0}`))
}

/** The nodes take no request for now. */
const keepOut = () => stubs.behave({ tokens: [97], refuse: { status: 429, code: 'queue_full' } })
const letIn = () => stubs.behave({ tokens: [97] })

/** Lets the object take its steps until the batch has one of these states. */
async function until(batch: Batch, ...states: readonly BatchStatus[]): Promise<Batch> {
  for (let step = 0; step < 20; step++) {
    const now = await shown(batch)
    if (states.includes(now.status)) return now
    await runDurableObjectAlarm(await object())
  }
  throw new Error(`the batch is ${(await shown(batch)).status}`)
}

interface ResultLine {
  custom_id: string
  response: { status_code: number; body: { error?: { code: string }; choices?: unknown[] } } | null
  error: { code: string } | null
}

async function linesIn(file: string | null): Promise<ResultLine[]> {
  const content = await edge.own(tenant, 'GET', `/files/${file}/content`)
  return new TextDecoder()
    .decode(await content.arrayBuffer())
    .trimEnd()
    .split('\n')
    .map((each): ResultLine => JSON.parse(each))
}

describe('a batch', () => {
  test('answers every request once, in the order of custom_id, and puts refusals into the error file', async () => {
    const batch = await create([
      line('c'),
      line('a'),
      line('unknown-model', { model: 'nobody' }),
      line('b'),
      line('bad-field', { temperature: 9 }),
      line('streamed', { stream: true }),
    ])
    expect(batch).toMatchObject({ status: 'validating', metadata: { of: 'test' }, output_file_id: null })
    const done = await until(batch, 'completed')
    expect(done.request_counts).toEqual({ total: 6, completed: 3, failed: 3 })
    expect(done.usage.output_tokens).toBe(3)
    const output = await linesIn(done.output_file_id)
    expect(output.map(({ custom_id }) => custom_id)).toEqual(['a', 'b', 'c'])
    expect(output[0]?.response).toMatchObject({ status_code: 200, body: { object: 'chat.completion' } })
    const errors = await linesIn(done.error_file_id)
    expect(errors.map(({ custom_id, response }) => [custom_id, response?.body.error?.code])).toEqual([
      ['bad-field', 'invalid_request'],
      ['streamed', 'invalid_request'],
      ['unknown-model', 'model_not_found'],
    ])
    const file = FileObject.parse(
      await (await edge.own(tenant, 'GET', `/files/${done.output_file_id}`)).json(),
    )
    expect(file).toMatchObject({ purpose: 'batch_output', lines: 3 })
  })

  test('of lines with white space around them that JSON does not know answers them', async () => {
    const [a, b] = ['a', 'b'].map((id) => JSON.stringify(line(id)))
    const text = `\ufeff\ufeff${a}\u00a0\r\n\u00a0\u2003\n\u2028${b}\u3000`
    const done = await until(await createOf(await uploadText(text, tenant)), 'completed', 'failed')
    expect(done).toMatchObject({ status: 'completed', request_counts: { total: 2, completed: 2, failed: 0 } })
  })

  test('of embeddings has a vector for each text, and counts their tokens', async () => {
    await stubs.behave({ tokens: [], embedding: [1, 0, 0, 0] })
    const texts = ['a', 'b'].map((input) => ({
      ...{ custom_id: input, method: 'POST', url: '/v1/embeddings' },
      body: { model: 'tone', input },
    }))
    const done = await until(await create(texts, '/v1/embeddings'), 'completed')
    expect(done.usage).toEqual({ input_tokens: 2, output_tokens: 0, total_tokens: 2 })
    const [first] = await linesIn(done.output_file_id)
    expect(first?.response?.body).toMatchObject({ data: [{ index: 0, embedding: [1, 0, 0, 0] }] })
  })

  test('of responses answers as that endpoint does, and another endpoint is refused by name', async () => {
    const body = { model: 'tone', input: 'hello', max_output_tokens: 4 }
    const asked = { custom_id: 'r', method: 'POST', url: '/v1/responses', body }
    const done = await until(await create([asked], '/v1/responses'), 'completed')
    const [answered] = await linesIn(done.output_file_id)
    expect(answered?.response).toMatchObject({ status_code: 200, body: { object: 'response' } })
    expect(done.usage.output_tokens).toBe(1)
    expect(done.usage.input_tokens).toBeGreaterThan(0)
    const refused = await upload([{ ...asked, url: '/v1/moderations' }])
    expect([refused.status, await refused.text()]).toEqual([
      400,
      expect.stringContaining('line 1: url: must be /v1/chat/completions'),
    ])
  })

  test('asks nodes at low priority, and its tokens count by the policy’s share', async () => {
    const before = await edge.admin('PATCH', `/tenants/${tenant.id}`, {
      policy: { tokensPerDay: 1_000_000, batchTokenShare: 0.5 },
    })
    expect(before.status).toBe(200)
    const done = await until(await create([line('a')]), 'completed')
    const asked = (await stubs.calls()).filter(({ kind }) => kind === 'generate')
    expect(asked.length).toBeGreaterThan(0)
    for (const { body } of asked) expect(body).toMatchObject({ priority: 'low' })
    const { input_tokens, output_tokens } = done.usage
    const spent = async () => {
      const budget = await edge.admin('GET', `/tenants/${tenant.id}/budget`)
      const { spent }: BudgetReport = await budget.json()
      return spent.day
    }
    await expect.poll(spent).toBe(Math.ceil((input_tokens + output_tokens) / 2))
  })

  test('goes on where its object died, and asks nothing twice that has its answer', async () => {
    await keepOut()
    const batch = await create([line('a'), line('b'), line('c')])
    await until(batch, 'in_progress')
    // This is the state after a crash: one request has its result, the file is not written.
    const stub = await object()
    await runInDurableObject(stub, (_object, { storage }) => {
      storage.sql.exec(
        'UPDATE requests SET is_error = 0, result = \'{"custom_id":"b"}\' WHERE custom_id = \'b\'',
      )
    })
    await evictDurableObject(stub)
    await letIn()
    const done = await until(batch, 'completed')
    expect((await linesIn(done.output_file_id)).map(({ custom_id }) => custom_id)).toEqual(['a', 'b', 'c'])
    expect((await stubs.calls()).filter(({ kind }) => kind === 'generate')).toHaveLength(2)
  })

  test('waits where the limits have no room, and loses nothing', async () => {
    // Room for one of the two, by half the price of a token.
    await edge.admin('PATCH', `/tenants/${tenant.id}`, { policy: { tokensPerDay: 20 } })
    const batch = await create([line('a'), line('b')])
    await expect.poll(async () => (await shown(batch)).request_counts.completed).toBe(1)
    await runDurableObjectAlarm(await object())
    expect(await shown(batch)).toMatchObject({
      status: 'in_progress',
      request_counts: { completed: 1, failed: 0 },
    })
    await edge.admin('PATCH', `/tenants/${tenant.id}`, { policy: { tokensPerDay: null } })
    expect((await until(batch, 'completed')).request_counts.completed).toBe(2)
  })

  test('is repeated after failures of nodes, and gives a request up after five', async () => {
    await stubs.behave({ tokens: [97], refuse: { status: 500, code: 'node_error' } })
    const done = await until(await create([line('a')]), 'completed')
    expect(done.request_counts).toEqual({ total: 1, completed: 0, failed: 1 })
    expect((await linesIn(done.error_file_id))[0]?.response?.status_code).toBeGreaterThanOrEqual(500)
  })

  test('that is cancelled has what was answered by then, and its file may go', async () => {
    await keepOut()
    const batch = await create([line('a'), line('b')])
    await until(batch, 'in_progress')
    const busy = await edge.own(tenant, 'DELETE', `/files/${batch.input_file_id}`)
    expect([busy.status, await busy.text()]).toEqual([409, expect.stringContaining(batch.id)])
    await edge.own(tenant, 'POST', `/batches/${batch.id}/cancel`)
    const done = await until(batch, 'cancelled')
    expect(done.cancelled_at).not.toBeNull()
    expect((await edge.own(tenant, 'DELETE', `/files/${batch.input_file_id}`)).status).toBe(200)
    const late = await edge.own(tenant, 'POST', `/batches/${batch.id}/cancel`)
    expect(await late.json()).toMatchObject({ status: 'cancelled', error_file_id: null })
  })

  test('fails where two lines have one custom_id, or another endpoint', async () => {
    const twice = await until(await create([line('a'), line('a')]), 'failed')
    expect(twice.errors?.data).toEqual([
      expect.objectContaining({ code: 'duplicate_custom_id', line: 2, param: 'custom_id' }),
    ])
    const other = await until(await create([line('a')], '/v1/completions'), 'failed')
    expect(other.errors?.data).toEqual([expect.objectContaining({ code: 'mismatched_endpoint', line: 1 })])
    expect(await stubs.calls()).toEqual([])
  })

  test('is another tenant’s to nobody: neither its file nor itself', async () => {
    const batch = await create([line('a')])
    const other = await edge.seedTenant()
    const asked = { input_file_id: batch.input_file_id, endpoint: batch.endpoint, completion_window: '24h' }
    expect((await edge.own(other, 'POST', '/batches', asked)).status).toBe(404)
    expect((await edge.own(other, 'GET', `/batches/${batch.id}`)).status).toBe(404)
    expect((await edge.own(other, 'POST', `/batches/${batch.id}/cancel`)).status).toBe(404)
    expect(await (await edge.own(other, 'GET', '/batches')).json()).toMatchObject({ data: [] })
  })

  test.each([
    [{ completion_window: '1h' }, /completion_window: must be 24h/],
    [
      { endpoint: '/v1/moderations' },
      /endpoint: must be \/v1\/chat\/completions, \/v1\/completions, \/v1\/responses or \/v1\/embeddings/,
    ],
    [{ input_file_id: 'x' }, /input_file_id/],
  ])('with %j is refused in words', async (change, words) => {
    const asked = {
      input_file_id: `file-${'0'.repeat(24)}`,
      endpoint: '/v1/completions',
      completion_window: '24h',
    }
    const response = await edge.own(tenant, 'POST', '/batches', { ...asked, ...change })
    expect(response.status).toBe(400)
    expect(await response.text()).toMatch(words)
  })
})
