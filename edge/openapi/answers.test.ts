import { env } from 'cloudflare:workers'
import { beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { z } from 'zod'
import { Batch } from '../../shared/api/batches.ts'
import { FileObject } from '../../shared/api/files.ts'
import { Job } from '../../shared/api/fine-tuning.ts'
import { sha256Hex } from '../../shared/digest.ts'
import { HeartbeatResponse, NodeId } from '../../shared/heartbeat.ts'
import { signHeartbeat } from '../../shared/heartbeat-token.ts'
import { nodeTokenKey } from '../../shared/node-token.ts'
import { ClaimResponse, TrainerId } from '../../shared/training/trainer-protocol.ts'
import { signTrainerToken } from '../../shared/training/trainer-token.ts'
import { makeAdapter } from '../../test/edge/adapter.ts'
import { describedCalls } from '../../test/edge/described-calls.ts'
import { stubs, TestEdge, type TestTenant, workerBackbone } from '../../test/edge/edge.ts'
import { nodeStatus } from '../../test/edge/node-status.ts'
import { unreachable } from '../../test/edge/stale-store.ts'
import { byteIds, tinyTokenizer } from '../../test/fakes/tiny-tokenizer.ts'
import { routes } from '../routes/table/routes.ts'

/** Every operation as it should be used, held to the document. */

const edge = new TestEdge({ QUARTET_LOG_LEVEL: 'off' })
const { asked, succeeded } = describedCalls(edge)
let tenant: TestTenant

beforeAll(() => edge.seedBackbone())
beforeEach(async () => {
  tenant = await edge.seedTenant()
  await stubs.behave({ tokens: byteIds('Hello'), logprob: -0.5 })
})

const admin = (method: string, path: string, body?: unknown, headers?: Record<string, string>) =>
  asked({ method, path: `/admin/v1${path}`, key: env.QUARTET_ADMIN_KEY, body, ...(headers && { headers }) })
const own = (method: string, path: string, body?: unknown, headers?: Record<string, string>) =>
  asked({ method, path: `/v1${path}`, key: tenant.key, body, ...(headers && { headers }) })
const chat = { model: 'tone', messages: [{ role: 'user', content: 'hello' }] }

test('generations answer what is described, whole and as events', async () => {
  for (const stream of [false, true]) {
    const more = stream ? { stream, stream_options: { include_usage: true } } : { n: 2 }
    const whole = await own('POST', '/chat/completions', {
      ...chat,
      ...more,
      logprobs: true,
      top_logprobs: 1,
    })
    expect(whole.status).toBe(200)
    const text = await own('POST', '/completions', { model: 'tiny', prompt: 'hi', logprobs: 1, ...more })
    expect(text.status).toBe(200)
  }
})

test('responses answer what is described, whole, as events and when they are stored', async () => {
  const ask = { model: 'tone', input: 'hi', include: ['message.output_text.logprobs'], top_logprobs: 1 }
  const { text } = await own('POST', '/responses', ask)
  await own('POST', '/responses', { ...ask, stream: true })
  const { id } = z.object({ id: z.string() }).parse(JSON.parse(text))
  expect((await own('POST', '/responses', { ...ask, previous_response_id: 'resp_none' })).status).toBe(404)
  await own('GET', `/responses/${id}`)
  await own('GET', `/responses/${id}/input_items?limit=1&order=asc`)
  await own('DELETE', `/responses/${id}`)
  expect((await own('GET', `/responses/${id}`)).status).toBe(404)
})

test('messages answer what is described, whole, as events and counted', async () => {
  const ask = { model: 'tone', messages: chat.messages }
  for (const stream of [false, true])
    expect((await own('POST', '/messages', { ...ask, max_tokens: 9, stream })).status).toBe(200)
  expect((await own('POST', '/messages/count_tokens', ask)).status).toBe(200)
  expect((await own('POST', '/messages', ask)).status).toBe(400)
})

test('embeddings answer what is described, as numbers and as base64', async () => {
  await stubs.behave({ tokens: [], embedding: [1, 0, 0, 0] })
  for (const encoding_format of ['float', 'base64'])
    expect((await own('POST', '/embeddings', { model: 'tone', input: ['a'], encoding_format })).status).toBe(
      200,
    )
  expect((await own('POST', '/embeddings', { model: 'tone', input: 'a', dimensions: 2 })).status).toBe(400)
})

test('tokens of a text and text of tokens answer what is described', async () => {
  for (const body of [
    { model: 'tone', prompt: 'hello' },
    { model: 'tone', messages: chat.messages, return_token_strs: true },
  ])
    expect((await asked({ method: 'POST', path: '/tokenize', key: tenant.key, body })).status).toBe(200)
  const body = { model: 'tone', tokens: [97] }
  expect((await asked({ method: 'POST', path: '/detokenize', key: tenant.key, body })).status).toBe(200)
  for (const query of ['', '?model=tone'])
    expect((await asked({ method: 'GET', path: `/tokenizer_info${query}`, key: tenant.key })).status).toBe(
      200,
    )
})

test('a stream that breaks off ends with an event that is described', async () => {
  await stubs.behave({ tokens: byteIds('Hello'), dieAfter: 2 })
  for (const [path, body] of [
    ['/chat/completions', chat],
    ['/completions', { model: 'tone', prompt: 'hi' }],
  ] as const) {
    const { text } = await own('POST', path, { ...body, stream: true })
    expect(text).toMatch(/"error":.*"usage":/)
  }
})

test('a generation without the registry of nodes answers what is described', async () => {
  const isolate = new TestEdge({ REGISTRY: unreachable(env.REGISTRY), QUARTET_LOG_LEVEL: 'off' })
  const { headers } = await asked({
    method: 'POST',
    path: '/v1/chat/completions',
    key: tenant.key,
    body: chat,
    isolate,
  })
  expect(headers.get('x-quartet-fleet')).toMatch(/^stale; age=/)
})

test('a repeated Idempotency-Key answers as described, and says so', async () => {
  const once = { 'idempotency-key': 'once' }
  await own('POST', '/chat/completions', chat, once)
  expect((await own('POST', '/chat/completions', chat, once)).headers.get('idempotency-replayed')).toBe(
    'true',
  )
  expect((await own('POST', '/chat/completions', { ...chat, user: 'u' }, once)).status).toBe(409)
  const path = `/tenants/${tenant.id}/keys`
  for (const [body, replayed] of [
    [{ name: 'made once' }, 'true'],
    // A request that did nothing frees its key.
    [{ name: 7 }, null],
  ] as const) {
    const key = { 'idempotency-key': `name-is-${typeof body.name}` }
    const first = await admin('POST', path, body, key)
    const again = await admin('POST', path, body, key)
    expect(again.headers.get('idempotency-replayed')).toBe(replayed)
    expect(again.text).toBe(first.text)
  }
})

describe.each(['tenant', 'admin'] as const)('deployments, by a key of kind %s,', (kind) => {
  test('answer what is described', async () => {
    const call = (method: string, path: string, body?: unknown) =>
      kind === 'tenant' ? own(method, path, body) : admin(method, `/tenants/${tenant.id}${path}`, body)
    const next = await makeAdapter({ backbone: workerBackbone, seed: 7_000 })
    const { digest } = next
    await call('POST', '/adapters?alias=fresh', next.file)
    await call('PUT', `/adapters/${digest}`, next.file)
    await call('GET', '/adapters?limit=1')
    await call('GET', `/adapters/${digest}`)
    await call('PUT', '/aliases/tone', { digest })
    await call('POST', '/aliases/tone/rollback')
    await call('PUT', '/aliases/tone/canary', { digest, percent: 10 })
    await call('GET', '/aliases/tone/canary')
    await call('GET', '/aliases')
    await call('GET', '/aliases/tone')
    await call('DELETE', '/aliases/tone/canary')
    await call('PUT', '/aliases/tone/canary', { digest, percent: 10, by: 'user' })
    await call('POST', '/aliases/tone/promote')
    await call('GET', '/aliases/tone/history?limit=2')
    const late: string[] = []
    for (const seed of [7_001, 7_002]) {
      const { digest, file } = await makeAdapter({ backbone: workerBackbone, seed, tail: 11 })
      late.push(digest)
      await call('PUT', `/adapters/${digest}`, file)
    }
    const shadow = { digest: late[1], percent: 100 }
    expect((await call('PUT', '/aliases/tone/shadow', shadow)).status).toBe(409)
    await admin('PATCH', `/tenants/${tenant.id}`, { policy: { shadowTokensPerDay: 1_000 } })
    await call('PUT', '/aliases/late', { digest: late[0] })
    await call('PUT', '/aliases/late/shadow', shadow)
    await own('POST', '/chat/completions', { ...chat, model: 'late' })
    const kept = await call('GET', '/aliases/late/shadow/answers')
    expect(JSON.parse(kept.text).data).toHaveLength(1)
    await call('DELETE', '/aliases/late/shadow/answers')
    await call('DELETE', '/aliases/late/shadow')
    await call('DELETE', '/aliases/late')
    expect((await call('DELETE', `/adapters/${digest}`)).status).toBe(409)
    await call('DELETE', '/aliases/tone')
    await call('DELETE', '/aliases/fresh')
    expect((await call('DELETE', `/adapters/${digest}`)).status).toBe(204)
    for (const [method, path, body] of [
      ['GET', '/adapters/x'],
      ['GET', `/adapters/${digest}`],
      ['GET', '/aliases?limit=0'],
      ['PUT', '/aliases/tiny', { digest }],
      ['POST', '/adapters', new Uint8Array(3)],
      ['POST', `/adapters?digest=${'0'.repeat(64)}`, next.file],
    ] as const)
      expect((await call(method, path, body)).status).toBeGreaterThanOrEqual(400)
  })
})

test('models and usage answer what is described', async () => {
  await own('POST', '/chat/completions', chat)
  await own('GET', '/models?limit=1')
  await own('GET', '/models/tone')
  expect((await own('GET', '/models/nobody')).status).toBe(404)
  await expect
    .poll(async () => (await own('GET', '/usage')).text, { timeout: 5_000 })
    .toContain('"model":"tone"')
  await own('GET', '/usage?format=csv')
  await own('GET', '/budget')
  await admin('PUT', `/tenants/${tenant.id}/webhook`, { url: 'https://acme.com/hook' })
  await admin('GET', `/tenants/${tenant.id}/webhook`)
  await admin('DELETE', `/tenants/${tenant.id}/webhook`)
  await admin('GET', '/usage?limit=1')
  const page = await admin('GET', `/usage?tenant=${tenant.id}&format=csv&limit=1`)
  expect(page.headers.get('content-disposition')).toMatch(/usage-/)
  await admin('GET', `/tenants/${tenant.id}/budget`)
  expect((await admin('GET', '/tenants/nobody/budget')).status).toBe(404)
})

test('a CSV that is not the last page says how to go on, as described', async () => {
  await own('POST', '/completions', { model: 'tiny', prompt: 'hi' })
  await own('POST', '/chat/completions', chat)
  await expect
    .poll(async () => (await own('GET', '/usage?format=csv&limit=1')).headers.get('x-quartet-next-after'), {
      timeout: 5_000,
    })
    .toMatch(/\/tiny$/)
})

test('tenants, keys, backbones and the log answer what is described', async () => {
  const id = `${tenant.id}-two`
  await admin('POST', '/tenants', { id, policy: { tokensPerDay: 5 } })
  expect((await admin('POST', '/tenants', { id })).status).toBe(409)
  await admin('GET', '/tenants?limit=1')
  await admin('GET', `/tenants/${tenant.id}`)
  await admin('PATCH', `/tenants/${id}`, { status: 'suspended' })
  const made = await admin('POST', `/tenants/${id}/keys`, { name: 'new' })
  const key = z.object({ id: z.string(), key: z.string() }).parse(JSON.parse(made.text))
  expect((await asked({ path: '/v1/models', key: key.key })).status).toBe(403)
  await admin('PATCH', `/tenants/${id}/keys/${key.id}`, { expiresAt: null })
  await admin('DELETE', `/tenants/${id}/keys/${key.id}`)
  expect((await admin('DELETE', `/tenants/${id}/keys/${key.id}`)).status).toBe(404)
  await admin('DELETE', `/tenants/${id}`)
  await admin('PUT', '/backbones/tiny', { backbone: workerBackbone, tokenizer: tinyTokenizer })
  await admin('GET', '/backbones')
  await admin('GET', '/audit?limit=3')
})

test('the service and the fleet answer what is described', async () => {
  await asked({ path: '/' })
  await asked({ path: '/health' })
  for (const path of ['/openapi.json', '/docs']) {
    const etag = (await asked({ path })).headers.get('etag') ?? ''
    expect((await asked({ path, headers: { 'if-none-match': etag } })).status).toBe(304)
  }
  // It drains: the registry may outlive this file, and nothing listens at its address.
  const body = JSON.stringify({ ...nodeStatus({ node: 'described', draining: true }), settlements: [] })
  let epoch = 'unknown'
  for (let beat = 0; beat < 2; beat++) {
    const token = await signHeartbeat(nodeTokenKey(env.QUARTET_NODE_SECRET), {
      edge: 'http://edge',
      node: NodeId.parse('described'),
      epoch,
      body: await sha256Hex(body),
      now: new Date(),
    })
    const { text } = await asked({
      method: 'POST',
      path: '/fleet/v1/heartbeat',
      key: token,
      body: JSON.parse(body),
    })
    epoch = HeartbeatResponse.parse(JSON.parse(text)).epoch
  }
  await admin('GET', '/fleet')
  await admin('GET', '/training')
})

test('files, jobs and their trainer answer what is described', async () => {
  const { id, key } = tenant
  const file = await uploadLines(key, '{"prompt":"a","completion":"b"}\n'.repeat(2))
  await own('GET', '/files?purpose=fine-tune')
  await own('GET', `/files/${file}`)
  expect((await own('GET', `/files/${file}/content`)).text).toContain('"completion"')
  const create = { model: 'tone', training_file: file, validation_file: file, suffix: 'x' }
  const created = Job.parse(JSON.parse((await own('POST', '/fine_tuning/jobs', create)).text))
  expect((await own('DELETE', `/files/${file}`)).status).toBe(409)
  const job = `/fine_tuning/jobs/${created.id}`
  await own('POST', `${job}/pause`)
  await own('POST', `${job}/resume`)
  await own('GET', '/fine_tuning/jobs')
  await own('GET', job)

  const trainer = (method: 'GET' | 'POST' | 'PUT', path: string, body?: Uint8Array<ArrayBuffer>, fence = 0) =>
    signed(method, `/fleet/v1/training${path}`, { body, fence })
  const claimed = await trainer('POST', '/claim', json({ backbone: pick(workerBackbone) }))
  const { work } = ClaimResponse.parse(JSON.parse(claimed.text))
  expect(work).toMatchObject({ tenant: id, job: created.id, hasValidationFile: true, checkpointStep: null })
  const fence = work?.fence ?? 0
  const of = `/${id}/${created.id}`
  for (const what of ['training-file', 'validation-file', 'adapter'])
    expect((await trainer('GET', `${of}/${what}`, undefined, fence)).status, what).toBe(200)
  await trainer('POST', `${of}/report`, json({ type: 'planned', steps: 4, tokens: 9, examples: 1 }), fence)
  expect((await trainer('PUT', `${of}/checkpoint?step=2&valid_loss=1.5`, json('kept'), fence)).status).toBe(
    204,
  )
  expect((await trainer('GET', `${of}/checkpoint`, undefined, fence)).text).toBe('"kept"')
  expect((await trainer('GET', `${of}/checkpoint`, undefined, fence + 1)).status).toBe(409)
  const trained = await makeAdapter({ backbone: workerBackbone, seed: 4_711 })
  await trainer('PUT', `${of}/adapter`, trained.file, fence)
  const evaluation = { untuned_loss: 2, tuned_loss: 1, samples: [] }
  const done = { type: 'succeeded', adapter: trained.digest, trainedTokens: 9, evaluation }
  expect(JSON.parse((await trainer('POST', `${of}/report`, json(done), fence)).text)).toEqual({
    order: 'stop',
  })

  const { fine_tuned_model: model, status } = Job.parse(JSON.parse((await own('GET', job)).text))
  expect([status, model]).toEqual(['succeeded', `ft:tiny:x:${created.id.slice(-8)}`])
  expect((await own('GET', `/aliases/${model}`)).text).toContain(trained.digest)
  await own('GET', `${job}/events`)
  expect((await own('GET', `${job}/events?stream=true`)).text).toContain('data: [DONE]')
  await own('GET', `${job}/checkpoints`)
  const second = Job.parse(JSON.parse((await own('POST', '/fine_tuning/jobs', create)).text))
  await own('POST', `/fine_tuning/jobs/${second.id}/cancel`)
  await own('DELETE', `/files/${file}`)
})

test('batches', async () => {
  const body = { model: 'tiny', messages: [{ role: 'user', content: 'hello' }] }
  const request = { custom_id: 'a', method: 'POST', url: '/v1/chat/completions', body }
  const input_file_id = await uploadLines(tenant.key, JSON.stringify(request), 'batch')
  const create = { input_file_id, endpoint: '/v1/chat/completions', completion_window: '24h' }
  const { id } = Batch.parse(JSON.parse((await own('POST', '/batches', create)).text))
  await own('GET', '/batches')
  await own('GET', `/batches/${id}`)
  await own('POST', `/batches/${id}/cancel`)
})

const json = (value: unknown) => Uint8Array.from(new TextEncoder().encode(JSON.stringify(value)))
const pick = ({ digest, slug }: typeof workerBackbone) => ({ digest, slug })

async function uploadLines(key: string, lines: string, purpose = 'fine-tune'): Promise<string> {
  const form = new FormData()
  form.set('purpose', purpose)
  form.set('file', new File([lines], 'examples.jsonl'))
  const request = new Request('http://edge', { method: 'POST', body: form })
  const { text } = await asked({
    method: 'POST',
    path: '/v1/files',
    key,
    body: new Uint8Array(await request.arrayBuffer()),
    headers: { 'content-type': request.headers.get('content-type') ?? '' },
  })
  return FileObject.parse(JSON.parse(text)).id
}

/** A trainer's call. */
async function signed(
  method: 'GET' | 'POST' | 'PUT',
  path: string,
  { body, fence }: { readonly body: Uint8Array<ArrayBuffer> | undefined; readonly fence: number },
) {
  const token = await signTrainerToken(nodeTokenKey(env.QUARTET_NODE_SECRET), {
    url: `http://edge${path}`,
    method,
    trainer: TrainerId.parse('trainer-1'),
    body: await sha256Hex(body ?? ''),
  })
  return asked({ method, path, key: token, body, headers: { 'x-quartet-fence': String(fence) } })
}

test('all of this was every operation there is', () => {
  expect([...succeeded].toSorted()).toEqual(routes.map(({ id }) => id).toSorted())
})
