import { createServer, request as httpRequest } from 'node:http'
import { connect } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { SignJWT } from 'jose'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { listen } from '../../gpu-node/server/listen.ts'
import { sha256Hex } from '../../shared/digest.ts'
import { NodeId } from '../../shared/heartbeat.ts'
import { AdapterDigest, BackboneDigest, newRequestId, TenantId } from '../../shared/ids.ts'
import { nodeTokenKey, signNodeToken } from '../../shared/node-token.ts'
import { maxAdapterBytes, NodeInfo } from '../../shared/wire.ts'
import { hasRequests } from '../../training/trainer/nodes-beside.ts'
import { continuation, FakeBackend } from '../fakes/fake-backend.ts'
import { tinyAdapter } from '../fakes/tiny-adapter.ts'
import {
  emptyHash,
  fakeNode,
  generateRequest,
  key,
  nodeId,
  readEvents,
  refusal,
  tenant,
  tokenIds,
  until,
} from './node-client.ts'

const other = TenantId.parse('umbrella')
const digestOf = async (file: Uint8Array<ArrayBuffer>) => AdapterDigest.parse(await sha256Hex(file))

let node: Awaited<ReturnType<typeof fakeNode>>

beforeAll(async () => {
  node = await fakeNode()
})
afterEach(() => {
  node.backend.beforeCall = () => {}
})
afterAll(() => node.close())

describe('generate', () => {
  it('streams token ids and ends with counts and timings', async () => {
    const response = await node.generate({ maxTokens: 6 })
    expect(response.headers.get('content-type')).toBe('application/x-ndjson')
    const events = await readEvents(response)
    expect(tokenIds(events)).toEqual(continuation([1, 2, 3], { count: 6 }))
    expect(events.at(-1)).toMatchObject({
      type: 'done',
      reason: 'length',
      usage: { promptTokens: 3, completionTokens: 6 },
    })
  })

  it('sends each token as soon as it is there', async () => {
    const gate = Promise.withResolvers<void>()
    node.backend.beforeCall = ({ type }) => (type === 'decode' ? gate.promise : undefined)
    const response = await node.generate({ maxTokens: 2 })
    const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader()
    expect((await reader?.read())?.value).toMatch(/^\{"type":"token","id":\d+\}\n$/)
    gate.resolve()
    const rest = (await reader?.read())?.value
    expect(rest?.trim().split('\n')).toHaveLength(2)
  })

  it('sends log-probabilities when asked', async () => {
    const [event] = await readEvents(await node.generate({ maxTokens: 1, logprobs: 3 }))
    expect(event?.type === 'token' && event.top?.length).toBe(3)
    expect(event?.type === 'token' && event.logprob).toBe(event?.type === 'token' && event.top?.[0]?.[1])
  })

  it("echoes the caller's request id", async () => {
    const requestId = newRequestId()
    const response = await fetch(`${node.url}/health`, { headers: { 'x-request-id': requestId } })
    expect(response.headers.get('x-request-id')).toBe(requestId)
    const hostile = await fetch(`${node.url}/health`, { headers: { 'x-request-id': 'x'.repeat(200) } })
    expect(hostile.headers.get('x-request-id')).toMatch(/^req_[0-9a-f]{32}$/)
  })

  it('runs the adapter that was pushed, and answers adapter_missing before that', async () => {
    const file = tinyAdapter({ seed: 5 })
    const adapter = await digestOf(file)
    expect(await refusal(await node.generate({ adapter }))).toMatchObject({
      status: 409,
      code: 'adapter_missing',
    })
    const pushed = await node.putAdapter(file)
    expect(await pushed.json()).toEqual({ digest: adapter, bytes: file.length })
    const events = await readEvents(await node.generate({ adapter }))
    expect(tokenIds(events)).toHaveLength(5)
    expect(tokenIds(events)).not.toEqual(continuation([1, 2, 3], { count: 5 }))
  })

  it("never runs a tenant's adapter for another tenant", async () => {
    const file = tinyAdapter({ seed: 6 })
    await node.putAdapter(file)
    const stolen = await node.generate({ adapter: await digestOf(file) }, { claims: { tenant: other } })
    expect(await refusal(stolen)).toMatchObject({ status: 409, code: 'adapter_missing' })
  })

  it.each([
    ['malformed JSON', '{"prompt": [1,', { status: 400, code: 'invalid_json' }],
    ['bytes that are not UTF-8 text of JSON', '\u0000', { status: 400, code: 'invalid_json' }],
    ['deeply nested JSON', '['.repeat(200_000), { status: 400, code: 'invalid_json' }],
    [
      'a wrong type',
      JSON.stringify({ ...generateRequest(), maxTokens: '5' }),
      { code: 'invalid_request', param: 'maxTokens' },
    ],
    [
      'an unknown field',
      JSON.stringify({ ...generateRequest(), text: 'hi' }),
      { code: 'unsupported_parameter', param: 'text' },
    ],
    [
      'an empty prompt',
      JSON.stringify(generateRequest({ prompt: [] })),
      { code: 'invalid_request', param: 'prompt' },
    ],
    [
      'a newest turn behind the whole prompt',
      JSON.stringify(generateRequest({ prompt: [1, 2, 3], turn: 3 })),
      { code: 'invalid_request', param: 'turn' },
    ],
    ['null', 'null', { status: 400, code: 'invalid_request' }],
  ])('refuses %s by name', async (_what, body, expected) => {
    expect(await refusal(await node.generate({}, { body }))).toMatchObject(expected)
  })

  it('refuses another backbone, tokens outside the vocabulary and what does not fit', async () => {
    const backbone = BackboneDigest.parse('a'.repeat(64))
    expect(await refusal(await node.generate({ backbone }))).toMatchObject({
      code: 'backbone_mismatch',
      param: 'backbone',
    })
    expect(await refusal(await node.generate({ prompt: [1, 99] }))).toMatchObject({
      code: 'invalid_request',
      param: 'prompt[1]',
    })
    expect(await refusal(await node.generate({ maxTokens: 5000 }))).toMatchObject({
      code: 'context_length_exceeded',
    })
  })

  it('refuses a body over the limit without reading it whole', async () => {
    const body = JSON.stringify({ ...generateRequest(), prompt: Array(2_200_000).fill(1) })
    expect(await refusal(await node.generate({}, { body }))).toMatchObject({
      status: 413,
      code: 'body_too_large',
    })
  })

  it('refuses a body over the limit that hides its length', async () => {
    const headers = await node.bearer({ act: 'generate' })
    const status = await new Promise((resolve, reject) => {
      const call = httpRequest(`${node.url}/v1/generate`, { method: 'POST', headers }, (response) => {
        response.resume()
        resolve(response.statusCode)
      })
      call.on('error', reject)
      for (let mebibyte = 0; mebibyte < 6; mebibyte++) call.write(Buffer.alloc(1024 * 1024, 32))
      call.end()
    })
    expect(status).toBe(413)
  })

  it('frees everything when a body ends before its stated length', async () => {
    const { authorization } = await node.bearer({ act: 'generate' })
    const socket = connect(Number(new URL(node.url).port), '127.0.0.1')
    socket.on('error', () => {})
    socket.write(
      `POST /v1/generate HTTP/1.1\r\nhost: x\r\nauthorization: ${authorization}\r\ncontent-length: 500\r\n\r\n{"requ`,
    )
    await delay(20)
    socket.destroy()
    const outcome = 'quartet_node_requests_total{outcome="client_closed_request"}'
    await until(async () => (await node.metric(outcome)) > 0)
    expect((await readEvents(await node.generate())).at(-1)).toMatchObject({ type: 'done' })
  })
})

describe('a node token', () => {
  const forged = nodeTokenKey('another secret, as long as the real one')

  it('is required', async () => {
    const response = await fetch(`${node.url}/v1/generate`, { method: 'POST', body: '{}' })
    expect(await refusal(response)).toMatchObject({ status: 401, code: 'invalid_node_token' })
    const basic = await fetch(`${node.url}/v1/node`, { headers: { authorization: 'Basic YTpi' } })
    expect(await refusal(basic)).toMatchObject({ status: 401 })
  })

  it('that is forged, expired or unsigned opens nothing', async () => {
    const request = generateRequest()
    const body = JSON.stringify(request)
    const claims = {
      act: 'generate' as const,
      rid: request.requestId,
      adapter: null,
      body: await sha256Hex(body),
    }
    const jwt = (alg: string) =>
      new SignJWT({ ...claims }).setProtectedHeader({ alg }).setSubject(tenant).setJti('j'.repeat(36))
    const issued = (token: SignJWT) => token.setIssuer('quartet-edge').setAudience(`quartet-node/${nodeId}`)
    const tokens = {
      forged: await signNodeToken(forged, { node: nodeId, tenant, ...claims }),
      'for another node': await signNodeToken(key, { node: NodeId.parse('another'), tenant, ...claims }),
      expired: await issued(jwt('HS256')).setExpirationTime('-10s').sign(key),
      endless: await issued(jwt('HS256')).sign(key),
      'for another audience': await jwt('HS256')
        .setExpirationTime('1m')
        .setIssuer('quartet-edge')
        .setAudience('x')
        .sign(key),
      unsigned: `${btoa('{"alg":"none"}').replaceAll('=', '')}.${btoa(JSON.stringify({ ...claims, sub: tenant })).replaceAll('=', '')}.`,
    }
    for (const [what, token] of Object.entries(tokens)) {
      const response = await fetch(`${node.url}/v1/generate`, {
        method: 'POST',
        headers: { authorization: `Bearer ${token}` },
        body,
      })
      expect(await refusal(response), what).toMatchObject({ status: 401, code: 'invalid_node_token' })
    }
  })

  it('works once', async () => {
    const headers = await node.bearer({})
    expect((await fetch(`${node.url}/v1/node`, { headers })).status).toBe(200)
    expect(await refusal(await fetch(`${node.url}/v1/node`, { headers }))).toMatchObject({ status: 401 })
  })

  it('opens only the action, request, adapter and body it was made for', async () => {
    const adapter = await digestOf(tinyAdapter({ seed: 7 }))
    for (const claims of [
      { act: 'put-adapter' as const },
      { rid: newRequestId() },
      { adapter },
      { body: emptyHash },
    ])
      expect(await refusal(await node.generate({}, { claims })), JSON.stringify(claims)).toMatchObject({
        status: 401,
        code: 'invalid_node_token',
      })
    const file = tinyAdapter({ seed: 8 })
    for (const claims of [{ act: 'generate' as const }, { adapter }, { adapter: null }, { body: emptyHash }])
      expect(await refusal(await node.putAdapter(file, { claims })), JSON.stringify(claims)).toMatchObject({
        status: 401,
        code: 'invalid_node_token',
      })
  })
})

describe('a pushed adapter', () => {
  it.each([
    ['with NaN', () => tinyAdapter({ seed: 1 }).map((byte, at, all) => (at >= all.length - 2 ? 0x7e : byte))],
    ['with a shape that its metadata do not state', () => replaced('"shape":[2,4]', '"shape":[4,2]')],
    ['with a lying header length', () => tinyAdapter({ seed: 1 }).with(6, 0xff)],
    ['cut short', () => tinyAdapter({ seed: 1 }).slice(0, -2)],
    ['of unknown kind', () => replaced('"static"', '"magick"')],
    ['that is empty', () => new Uint8Array()],
  ])('%s is refused with one clear error', async (_what, make) => {
    const before = await node.metric('quartet_node_adapters_resident')
    expect(await refusal(await node.putAdapter(make()))).toMatchObject({
      status: 400,
      code: 'adapter_invalid',
    })
    expect(await node.metric('quartet_node_adapters_resident')).toBe(before)
  })

  it('for another backbone is refused', async () => {
    const file = tinyAdapter({ seed: 1, backbone: BackboneDigest.parse('b'.repeat(64)) })
    expect(await refusal(await node.putAdapter(file))).toMatchObject({
      status: 400,
      code: 'backbone_mismatch',
    })
  })

  it('with a wrong hash is refused', async () => {
    const path = 'c'.repeat(64)
    expect(await refusal(await node.putAdapter(tinyAdapter({ seed: 1 }), { path }))).toMatchObject({
      status: 400,
      code: 'digest_mismatch',
    })
  })

  it('over the size limit is refused', async () => {
    expect(await refusal(await node.putAdapter(new Uint8Array(maxAdapterBytes + 1)))).toMatchObject({
      status: 413,
      code: 'body_too_large',
    })
  })

  it('is loaded once when two edges push it at the same time', async () => {
    const file = tinyAdapter({ seed: 9 })
    const before = await node.metric('quartet_node_adapter_loads_total')
    const answers = await Promise.all([node.putAdapter(file), node.putAdapter(file)])
    expect(answers.map(({ status }) => status)).toEqual([200, 200])
    expect(await node.metric('quartet_node_adapter_loads_total')).toBe(before + 1)
  })

  function replaced(from: string, to: string): Uint8Array<ArrayBuffer> {
    const text = Buffer.from(tinyAdapter({ seed: 1 })).toString('latin1')
    return new Uint8Array(Buffer.from(text.replace(from, to), 'latin1'))
  }
})

describe('a client that leaves', () => {
  it('frees its row within one step', async () => {
    const abort = new AbortController()
    node.backend.beforeCall = () => delay(10)
    const response = await node.generate({ maxTokens: 1000 }, { signal: abort.signal })
    await response.body?.getReader().read()
    expect(node.backend.usedRows).toBe(1003)
    const calls = node.backend.calls.length
    abort.abort()
    await until(() => node.backend.usedRows === 0)
    expect(node.backend.calls.length - calls).toBeLessThanOrEqual(2)
  })

  it('leaves the queue as well', async () => {
    const busy = await fakeNode({ backend: new FakeBackend({ maxBatch: 1 }) })
    busy.backend.beforeCall = () => delay(5)
    const running = await busy.generate({ maxTokens: 60 })
    const abort = new AbortController()
    await busy.generate({}, { signal: abort.signal })
    expect(await busy.metric('quartet_node_queue_length')).toBe(1)
    abort.abort()
    await until(async () => (await busy.metric('quartet_node_queue_length')) === 0)
    expect(busy.backend.calls.filter(({ type }) => type === 'prefill')).toHaveLength(1)
    await readEvents(running)
    await busy.close()
  })
})

describe('a busy node', () => {
  it('answers queue_full with Retry-After beyond its queue', async () => {
    const busy = await fakeNode({ backend: new FakeBackend({ maxBatch: 1 }), settings: { queue: 2 } })
    await readEvents(await busy.generate())
    const gate = Promise.withResolvers<void>()
    busy.backend.beforeCall = () => gate.promise
    const streams = [await busy.generate()]
    await until(() => busy.backend.usedRows > 0)
    streams.push(await busy.generate(), await busy.generate({}, { claims: { tenant: other } }))
    const refused = await busy.generate({}, { claims: { tenant: TenantId.parse('third') } })
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0)
    expect(await refusal(refused)).toMatchObject({ status: 429, code: 'queue_full' })
    gate.resolve()
    for (const stream of streams) expect((await readEvents(stream)).at(-1)).toMatchObject({ type: 'done' })
    await busy.close()
  })

  it('ends a stream whose step fails with an error event, and goes on', async () => {
    node.backend.beforeCall = ({ type }) => {
      if (type === 'decode') throw new Error('secret detail')
    }
    const response = await node.generate()
    const events = await readEvents(response)
    expect(events.at(-1)).toMatchObject({ type: 'error', code: 'node_error' })
    expect(JSON.stringify(events)).not.toContain('secret detail')
    node.backend.beforeCall = () => {}
    expect((await readEvents(await node.generate())).at(-1)).toMatchObject({ type: 'done' })
  })
})

describe('a node', () => {
  it('says what it is and how busy', async () => {
    expect(NodeInfo.parse(await (await node.info()).json())).toMatchObject({
      backbone: { slug: 'fake' },
      contextLength: 4096,
      maxBatch: 4,
      running: 0,
      draining: false,
    })
  })

  it('refuses unknown paths and methods in the shape of every error', async () => {
    expect(await refusal(await fetch(`${node.url}/v2/generate`))).toMatchObject({
      status: 404,
      code: 'not_found',
    })
    const wrong = await fetch(`${node.url}/v1/generate`, { method: 'DELETE' })
    expect(wrong.headers.get('allow')).toBe('POST')
    expect(await refusal(wrong)).toMatchObject({ status: 405, code: 'method_not_allowed' })
  })

  it('tells browsers to take each answer as what it says it is, a refusal too', async () => {
    const headers = await node.bearer({ body: await sha256Hex('{}') })
    const answers = [
      await fetch(`${node.url}/health`),
      await fetch(`${node.url}/metrics`),
      await node.info(),
      await node.generate({ maxTokens: 1 }),
      await fetch(`${node.url}/v2/generate`),
      await fetch(`${node.url}/v1/generate`, { method: 'DELETE' }),
      await fetch(`${node.url}/v1/node`),
      await fetch(`${node.url}/v1/generate`, { method: 'POST', headers, body: '{}' }),
      await fetch(`${node.url}/v1/settlements`, { method: 'POST', headers, body: '{' }),
    ]
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 200, 404, 405, 401, 401, 401])
    for (const { headers: told, url } of answers)
      expect(told.get('x-content-type-options'), url).toBe('nosniff')
  })

  it('listens at once and is ready when its backbone is loaded', async () => {
    const backbone = Promise.withResolvers<void>()
    const slow = await fakeNode({ loading: backbone.promise })
    expect((await fetch(`${slow.url}/health`)).status).toBe(200)
    expect(await refusal(await fetch(`${slow.url}/ready`))).toMatchObject({
      status: 503,
      code: 'node_unavailable',
    })
    expect(await refusal(await slow.generate())).toMatchObject({ status: 503, code: 'node_unavailable' })
    expect(await refusal(await slow.info())).toMatchObject({ status: 503, code: 'node_unavailable' })
    backbone.resolve()
    await slow.ready
    expect((await fetch(`${slow.url}/ready`)).status).toBe(200)
    expect((await readEvents(await slow.generate())).at(-1)).toMatchObject({ type: 'done' })
    await slow.close()
  })

  it('that drains finishes what runs, refuses the rest and then closes', async () => {
    const leaving = await fakeNode()
    leaving.backend.beforeCall = () => delay(5)
    const running = await leaving.generate({ maxTokens: 30 })
    const closed = leaving.close()
    expect(await refusal(await leaving.generate())).toMatchObject({ status: 503, code: 'draining' })
    expect(await refusal(await fetch(`${leaving.url}/ready`))).toMatchObject({
      status: 503,
      code: 'draining',
    })
    expect(NodeInfo.parse(await (await leaving.info()).json()).draining).toBe(true)
    expect((await readEvents(running)).at(-1)).toMatchObject({ type: 'done' })
    await closed
    expect(leaving.backend.closed).toBe(true)
    await expect(fetch(`${leaving.url}/health`)).rejects.toThrow()
  })

  it('that has drained long enough ends what still runs with an error', async () => {
    const leaving = await fakeNode({ settings: { drainSeconds: 0 } })
    leaving.backend.beforeCall = () => delay(5)
    const running = await leaving.generate({ maxTokens: 3000 })
    await leaving.close()
    expect((await readEvents(running)).at(-1)).toMatchObject({ type: 'error', code: 'draining' })
  })

  it('counts outcomes, tokens and steps', async () => {
    const fresh = await fakeNode()
    await readEvents(await fresh.generate({ maxTokens: 5 }))
    await fresh.generate({ prompt: [99] })
    expect(await fresh.metric('quartet_node_requests_total{outcome="length"}')).toBe(1)
    expect(await fresh.metric('quartet_node_requests_total{outcome="invalid_request"}')).toBe(1)
    expect(await fresh.metric('quartet_node_prefill_tokens_total')).toBe(3)
    expect(await fresh.metric('quartet_node_decode_tokens_total')).toBe(4)
    expect(await fresh.metric('quartet_node_time_to_first_token_seconds_count')).toBe(1)
    await fresh.close()
  })

  it('logs request ids and outcomes, and never tokens, tenants or secrets', async () => {
    const prompt = [41, 42, 43]
    const request = generateRequest({ prompt })
    await readEvents(await node.generate({ ...request }))
    const text = node.logged.join('\n')
    expect(text).toContain(request.requestId)
    expect(text).not.toContain(prompt.join(','))
    expect(text).not.toContain(tenant)
    expect(text).not.toContain('the secret')
    expect(text).not.toContain('eyJ')
  })

  it('on a port in use fails with one clear line', async () => {
    const taken = createServer().listen(0, '127.0.0.1')
    await new Promise((resolve) => taken.once('listening', resolve))
    const address = taken.address()
    const port = typeof address === 'object' && address ? address.port : 0
    await expect(listen(() => new Response(), { host: '127.0.0.1', port })).rejects.toThrow(
      `port ${port} on 127.0.0.1 is in use; stop what listens there or choose another with --port or QUARTET_NODE_PORT`,
    )
    taken.close()
  })
})

it('a trainer beside it sees whether it has requests; a node that is gone has none', async () => {
  const gate = Promise.withResolvers<void>()
  node.backend.beforeCall = ({ type }) => (type === 'decode' ? gate.promise : undefined)
  const isBusy = (url: string) => hasRequests([{ id: nodeId, url }], key)
  expect(await isBusy(node.url)).toBe(false)
  const response = await node.generate({ maxTokens: 2 })
  expect(await isBusy(node.url)).toBe(true)
  gate.resolve()
  await response.text()
  await until(async () => !(await isBusy(node.url)))
  expect(await isBusy('http://127.0.0.1:9')).toBe(false)
})
