import { afterEach, beforeAll, beforeEach, describe, expect, inject, test, vi } from 'vitest'
import { readSse, stubs, TestEdge, type TestTenant } from '../../test/edge/edge.ts'
import type { Received, ReceivedSpan, ReceiverBehaviour } from '../../test/fakes/otlp-received.ts'
import { byteIds } from '../../test/fakes/tiny-tokenizer.ts'

const receiver = {
  url: inject('otlpReceiver'),
  behave: (behaviour: ReceiverBehaviour) =>
    fetch(`${receiver.url}/receiver/behaviour`, { method: 'PUT', body: JSON.stringify(behaviour) }),
  received: async (): Promise<Received> => (await fetch(`${receiver.url}/receiver/received`)).json(),
}

const traced = () => new TestEdge({ QUARTET_OTLP_ENDPOINT: receiver.url })
const traceId = '4bf92f3577b34da6a3ce929d0e0e4736'
const clientSpan = '00f067aa0ba902b7'
const traceparent = `00-${traceId}-${clientSpan}-01`

let tenant: TestTenant
beforeAll(async () => {
  const edge = new TestEdge()
  await edge.seedBackbone()
  tenant = await edge.seedTenant()
})
beforeEach(async () => {
  await receiver.behave({})
  await stubs.behave({ tokens: byteIds('Hello') })
})
afterEach(() => vi.restoreAllMocks())

const chat = (edge: TestEdge, { body = {}, headers = {} }: { body?: object; headers?: object } = {}) =>
  edge.fetch('/v1/chat/completions', {
    method: 'POST',
    headers: { authorization: `Bearer ${tenant.key}`, ...headers },
    body: JSON.stringify({ model: 'tone', messages: [{ role: 'user', content: 'marked prompt' }], ...body }),
  })

async function spansOf(id: string, count: number): Promise<readonly ReceivedSpan[]> {
  return vi.waitFor(
    async () => {
      const spans = (await receiver.received()).spans.filter((span) => span.traceId === id)
      expect(spans.length).toBeGreaterThanOrEqual(count)
      return spans
    },
    { timeout: 5_000, interval: 50 },
  )
}

describe('a streamed request with an OTLP receiver', () => {
  test('is one connected trace from the client’s span to the call of the node, with counts and names', async () => {
    const response = await chat(traced(), { body: { stream: true, max_tokens: 9 }, headers: { traceparent } })
    expect((await readSse(response)).at(-1)).toBe('[DONE]')
    const spans = await spansOf(traceId, 7)
    const named = (name: string) => spans.find((span) => span.name === name)
    const request = named('POST /v1/chat/completions')
    const generation = named('chat tone')
    const call = named('POST /v1/generate')
    expect(request).toMatchObject({ parentSpanId: clientSpan, kind: 2, service: 'quartet-edge', status: {} })
    expect(generation).toMatchObject({ parentSpanId: request?.spanId, kind: 3 })
    expect(call).toMatchObject({ parentSpanId: generation?.spanId, kind: 3 })
    for (const hop of ['auth', 'resolve', 'tokenize', 'node'])
      expect(named(hop), hop).toMatchObject({ parentSpanId: request?.spanId })
    expect(request?.attributes).toMatchObject({
      'http.request.method': 'POST',
      'http.route': '/v1/chat/completions',
      'http.response.status_code': 200,
      'quartet.tenant.id': tenant.id,
      'quartet.key.id': expect.stringMatching(/^key_/),
    })
    expect(generation?.attributes).toMatchObject({
      'gen_ai.operation.name': 'chat',
      'gen_ai.request.model': 'tone',
      'gen_ai.request.stream': true,
      'gen_ai.response.model': 'tiny',
      'gen_ai.response.time_to_first_chunk': expect.any(Number),
      'gen_ai.request.max_tokens': 9,
      'gen_ai.usage.input_tokens': expect.any(Number),
      'gen_ai.usage.output_tokens': 5,
      'gen_ai.response.finish_reasons': ['stop'],
      'quartet.adapter.digest': tenant.adapter.digest,
    })
    expect(generation?.events).toMatchObject([{ name: 'quartet.first_token' }])
    expect(call?.attributes).toMatchObject({
      'server.address': '127.0.0.1',
      'server.port': expect.any(Number),
    })

    const [node] = await stubs.calls()
    expect(node?.headers.traceparent).toBe(`00-${traceId}-${call?.spanId}-01`)
    expect(node?.headers['x-request-id']).toBe(response.headers.get('x-request-id'))
    expect(response.headers.get('traceparent')).toBe(`00-${traceId}-${request?.spanId}-01`)
  })

  test('leaves neither prompt, completion nor key behind', async () => {
    await readSse(await chat(traced(), { body: { stream: true }, headers: { traceparent } }))
    await spansOf(traceId, 7)
    const { bodies, refused } = await receiver.received()
    expect(refused).toEqual([])
    for (const secret of ['marked prompt', 'Hello', tenant.key]) expect(bodies.join()).not.toContain(secret)
  })

  test('adds to the histograms of tokens, duration and time to first token', async () => {
    await readSse(await chat(traced(), { body: { stream: true }, headers: { traceparent } }))
    const points = await vi.waitFor(
      async () => {
        const received = await receiver.received()
        expect(received.points.length).toBeGreaterThanOrEqual(4)
        return received.points
      },
      { timeout: 5_000, interval: 50 },
    )
    expect(points.map(({ name }) => name).toSorted()).toEqual([
      'gen_ai.client.token.usage',
      'gen_ai.client.token.usage',
      'gen_ai.server.request.duration',
      'gen_ai.server.time_to_first_token',
    ])
    expect(points.find(({ attributes }) => attributes['gen_ai.token.type'] === 'output')?.sum).toBe(5)
  })
})

test('an adapter is brought to a node within the trace of the request that began it', async () => {
  await stubs.behave({ tokens: byteIds('Hello'), adapterMissing: true })
  await chat(traced(), { headers: { traceparent } })
  const spans = await spansOf(traceId, 9)
  const push = spans.find(({ name }) => name === 'PUT /v1/adapters/{digest}')
  const generation = spans.find(({ name }) => name === 'chat tone')
  expect(push).toMatchObject({ parentSpanId: generation?.spanId, kind: 3, status: {} })
  const put = (await stubs.calls()).find(({ kind }) => kind === 'put-adapter')
  expect(put?.headers.traceparent).toBe(`00-${traceId}-${push?.spanId}-01`)
})

test('a failover is two calls under one generation, the first with what went wrong', async () => {
  const [first] = stubs.preferredBy(tenant.adapter)
  await stubs.behaveAt(first, { tokens: [], refuse: { status: 503, code: 'node_unavailable' } })
  await chat(traced(), { headers: { traceparent } })
  const calls = (await spansOf(traceId, 8)).filter(({ name }) => name === 'POST /v1/generate')
  expect(calls.map(({ attributes }) => attributes['error.type'])).toEqual(['node_unavailable', undefined])
  expect(calls[0]?.status.code).toBe(2)
})

test('an answer that began again has the first token of the call that answered', async () => {
  const [first, second] = stubs.preferredBy(tenant.adapter)
  await stubs.behaveAt(first, { tokens: byteIds('Hello'), delayMs: 5, dieAfter: 2 })
  await stubs.behaveAt(second, { tokens: byteIds('Hello'), headDelayMs: 20 })
  await chat(traced(), { headers: { traceparent } })
  const spans = await spansOf(traceId, 8)
  const calls = spans.filter(({ name }) => name === 'POST /v1/generate')
  expect(calls.map(({ attributes }) => attributes['error.type'])).toEqual(['node_error', undefined])
  const event = spans.find(({ name }) => name === 'chat tone')?.events[0]
  expect(BigInt(event?.timeUnixNano ?? 0)).toBeGreaterThan(BigInt(calls[1]?.startTimeUnixNano ?? 0))
})

describe('a request that fails', () => {
  test('says with which code', async () => {
    await traced().fetch('/v1/models/x', { headers: { traceparent, authorization: 'Bearer qk_no' } })
    const [span] = await spansOf(traceId, 1)
    expect(span).toMatchObject({
      name: 'GET /v1/models/:model',
      attributes: { 'http.response.status_code': 401, 'error.type': 'invalid_api_key' },
    })
  })

  test('in the middle of its stream says so too', async () => {
    await stubs.behave({ tokens: byteIds('Hello'), delayMs: 3, dieAfter: 2 })
    await readSse(await chat(traced(), { body: { stream: true }, headers: { traceparent } }))
    const generation = (await spansOf(traceId, 7)).find(({ name }) => name === 'chat tone')
    expect(generation).toMatchObject({
      status: { code: 2, message: 'node_error' },
      attributes: { 'gen_ai.usage.output_tokens': 2 },
    })
  })
})

describe('sampling', () => {
  test('follows the caller: what it does not sample is handed on and not recorded', async () => {
    const response = await chat(traced(), { headers: { traceparent: `00-${traceId}-${clientSpan}-00` } })
    expect(response.headers.get('traceparent')).toMatch(new RegExp(`^00-${traceId}-.*-00$`))
    expect((await stubs.calls())[0]?.headers.traceparent).toMatch(/-00$/)
    await chat(traced(), { headers: { traceparent: `00-${'ab'.repeat(16)}-${clientSpan}-01` } })
    await spansOf('ab'.repeat(16), 7)
    expect((await receiver.received()).spans.filter((span) => span.traceId === traceId)).toEqual([])
  })

  test('of traces begun here is the ratio’s, and a malformed traceparent begins one', async () => {
    const edge = new TestEdge({ QUARTET_OTLP_ENDPOINT: receiver.url, QUARTET_TRACE_RATIO: '0' })
    const response = await chat(edge, { headers: { traceparent: 'garbage' } })
    const id = response.headers.get('x-request-id')?.slice('req_'.length)
    expect(response.headers.get('traceparent')).toMatch(new RegExp(`^00-${id}-[0-9a-f]{16}-00$`))
  })
})

test('without an endpoint nothing is sent, and the trace still runs from client to node', async () => {
  const response = await chat(new TestEdge(), { headers: { traceparent, tracestate: 'vendor=1' } })
  expect(response.headers.get('traceparent')).toBe(traceparent)
  const [call] = await stubs.calls()
  expect(call?.headers).toMatchObject({ traceparent, tracestate: 'vendor=1' })
  expect((await receiver.received()).bodies).toEqual([])
})

describe('a receiver that is', () => {
  test.each([
    ['down', 'http://127.0.0.1:1', {}],
    ['refusing', receiver.url, { status: 500 }],
    ['slow', receiver.url, { delayMs: 3_000 }],
  ])('%s changes nothing for clients', async (_, endpoint, behaviour) => {
    await receiver.behave(behaviour)
    const edge = new TestEdge({ QUARTET_OTLP_ENDPOINT: endpoint })
    for (let i = 0; i < 5; i++) {
      const started = performance.now()
      const events = await readSse(await chat(edge, { body: { stream: true } }))
      expect(events.at(-1)).toBe('[DONE]')
      expect(performance.now() - started).toBeLessThan(1_000)
    }
  })
})

describe('the log', () => {
  const lines = () => {
    const written: string[] = []
    vi.spyOn(console, 'log').mockImplementation((line: string) => written.push(line))
    vi.spyOn(console, 'error').mockImplementation((line: string) => written.push(line))
    return written
  }

  test('has one line per request with who, what, where and how much', async () => {
    const written = lines()
    const response = await chat(new TestEdge({ QUARTET_LOG_LEVEL: 'info' }), { body: { stream: true } })
    await readSse(response)
    expect(written).toHaveLength(1)
    expect(JSON.parse(written[0] ?? '')).toMatchObject({
      level: 'info',
      event: 'request',
      requestId: response.headers.get('x-request-id'),
      method: 'POST',
      path: '/v1/chat/completions',
      status: 200,
      tenant: tenant.id,
      keyId: expect.stringMatching(/^key_/),
      model: 'tone',
      adapter: tenant.adapter.digest,
      node: expect.stringMatching(/^stub-/),
      completionTokens: 5,
      finish: 'stop',
      ms: expect.any(Number),
    })
  })

  test('of a run with a marked prompt, keys in every wrong place and a broken node holds none of them', async () => {
    const written = lines()
    const edge = new TestEdge({ QUARTET_LOG_LEVEL: 'debug', QUARTET_OTLP_ENDPOINT: receiver.url })
    await chat(edge)
    await chat(edge, { body: { temperature: 'marked prompt' } })
    await chat(edge, { body: { model: 'marked prompt' } })
    await edge.fetch(`/v1/models/${tenant.key}?key=${tenant.key}`, {
      headers: { authorization: `Bearer ${tenant.key}` },
    })
    await edge.fetch(`/${tenant.key}`, { headers: { authorization: `Bearer ${tenant.key}x` } })
    await edge.admin('GET', '/tenants')
    await stubs.behave({ tokens: [], garbage: '{"type":"token","marked prompt' })
    await chat(edge)
    await stubs.behave({ tokens: byteIds('Hello'), dieAfter: 2, delayMs: 2 })
    await chat(edge)
    expect(written.length).toBeGreaterThanOrEqual(8)
    for (const line of written) expect(() => JSON.parse(line), line).not.toThrow()
    for (const secret of ['marked prompt', 'Hello', tenant.key, 'test-admin-key', 'test-node-secret'])
      expect(written.join('\n')).not.toContain(secret)
  })

  test('has a line for each attempt that failed: whose, where and why', async () => {
    const [first, second] = stubs.preferredBy(tenant.adapter)
    await stubs.behaveAt(first, { tokens: byteIds('Hello'), delayMs: 5, dieAfter: 2 })
    await stubs.behaveAt(second, { tokens: [], refuse: { status: 500, code: 'internal_error' } })
    const written = lines()
    const response = await chat(new TestEdge({ QUARTET_LOG_LEVEL: 'debug' }))
    const failed = written.map((line) => JSON.parse(line)).filter(({ event }) => event === 'attempt_failed')
    const requestId = response.headers.get('x-request-id')
    expect(failed).toMatchObject([
      { level: 'warn', requestId, node: first.id, attempt: 0, reason: 'truncated' },
      { level: 'warn', requestId, node: second.id, attempt: 1, reason: 'internal_error' },
    ])
  })

  test('is as quiet as it is told to be', async () => {
    const written = lines()
    await chat(new TestEdge({ QUARTET_LOG_LEVEL: 'warn' }))
    await new TestEdge({ QUARTET_LOG_LEVEL: 'info' }).fetch('/health')
    expect(written).toEqual([])
  })

  test('level that does not exist is refused with the variable’s name', async () => {
    lines()
    const response = await new TestEdge({ QUARTET_LOG_LEVEL: 'loud' }).fetch('/health')
    expect(response.status).toBe(500)
  })
})
