import { request as httpRequest } from 'node:http'
import { connect } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { BackboneDigest, newRequestId, TenantId } from '../../shared/ids.ts'
import { continuation } from '../fakes/hashed-model.ts'
import { tinyAdapter } from '../fakes/tiny-adapter.ts'
import { digestOf, fakeNode, generateRequest, readEvents, refusal, tokenIds, until } from './node-client.ts'

const other = TenantId.parse('umbrella')

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
