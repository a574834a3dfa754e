import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { sha256Hex } from '../../shared/digest.ts'
import { signNodeToken } from '../../shared/node-token.ts'
import { telemetrySettings } from '../../shared/telemetry/settings.ts'
import { type OtlpReceiver, startOtlpReceiver } from '../fakes/otlp-receiver.ts'
import { parsePrometheus } from '../prometheus-text.ts'
import { fakeNode, generateRequest, key, nodeId, readEvents, secret, tenant } from './node-client.ts'

const nodes: Awaited<ReturnType<typeof fakeNode>>[] = []
let receiver: OtlpReceiver
beforeEach(async () => {
  receiver = await startOtlpReceiver()
})
afterEach(async () => {
  await Promise.all(nodes.splice(0).map((node) => node.close()))
  await receiver.close()
})

async function start(endpoint: string | undefined, ratio = '1') {
  const telemetry = telemetrySettings({ QUARTET_OTLP_ENDPOINT: endpoint, QUARTET_TRACE_RATIO: ratio })
  const node = await fakeNode({ settings: { telemetry, drainSeconds: 1 } })
  nodes.push(node)
  return node
}

/** A generate call with headers of its own. */
async function call(url: string, headers: Record<string, string>, maxTokens = 5) {
  const request = generateRequest({ maxTokens })
  const body = JSON.stringify(request)
  const token = await signNodeToken(key, {
    node: nodeId,
    tenant,
    act: 'generate',
    rid: request.requestId,
    adapter: null,
    body: await sha256Hex(body),
  })
  const response = await fetch(`${url}/v1/generate`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'x-request-id': request.requestId, ...headers },
    body,
  })
  return { request, events: await readEvents(response) }
}

const traceId = '4bf92f3577b34da6a3ce929d0e0e4736'
const parent = '00f067aa0ba902b7'

describe('a node with an OTLP receiver', () => {
  test('puts its spans under the caller’s, with counts and without tokens', async () => {
    const node = await start(receiver.url)
    const { request } = await call(node.url, { traceparent: `00-${traceId}-${parent}-01` })
    await vi.waitFor(() => expect(receiver.received().spans.length).toBe(4), { timeout: 4000 })
    const { bodies, refused, spans } = receiver.received()
    expect(refused).toEqual([])
    const [root, ...phases] = spans
    expect(root).toMatchObject({
      service: 'quartet-node',
      instance: expect.stringMatching(/^[0-9a-f-]{36}$/),
      name: 'POST /v1/generate',
      traceId,
      parentSpanId: parent,
      kind: 2,
      attributes: {
        'gen_ai.usage.input_tokens': request.prompt.length,
        'gen_ai.usage.output_tokens': 5,
        'gen_ai.response.finish_reasons': ['length'],
        'quartet.request.id': request.requestId,
        'quartet.tenant.id': tenant,
      },
      events: [{ name: 'quartet.first_token' }],
    })
    expect(phases.map(({ name }) => name)).toEqual(['queue', 'prefill', 'decode'])
    for (const phase of phases) expect(phase).toMatchObject({ traceId, parentSpanId: root?.spanId })
    expect(bodies.join()).not.toContain(JSON.stringify(request.prompt))
  })

  test('records what it refuses', async () => {
    const node = await start(receiver.url)
    await fetch(`${node.url}/v1/generate`, {
      method: 'POST',
      headers: { traceparent: `00-${traceId}-${parent}-01` },
    })
    await vi.waitFor(() => expect(receiver.received().spans).toHaveLength(1), { timeout: 4000 })
    expect(receiver.received().spans[0]).toMatchObject({
      parentSpanId: parent,
      attributes: { 'http.response.status_code': 401, 'error.type': 'invalid_node_token' },
    })
  })

  test('honours a caller that does not sample, and its ratio where nobody says', async () => {
    const node = await start(receiver.url, '0')
    await call(node.url, { traceparent: `00-${traceId}-${parent}-00` })
    await call(node.url, {})
    await call(node.url, { traceparent: `00-${traceId}-${parent}-01` })
    await node.close()
    nodes.splice(0)
    expect(receiver.received().spans.filter(({ name }) => name === 'POST /v1/generate')).toHaveLength(1)
  })

  test('sends what is left when it stops', async () => {
    const node = await start(receiver.url)
    await call(node.url, {})
    await node.close()
    nodes.splice(0)
    expect(receiver.received().spans).toHaveLength(4)
  })
})

test.each([
  ['down', () => 'http://127.0.0.1:1'],
  [
    'slow',
    () => {
      receiver.behave({ delayMs: 10_000 })
      return receiver.url
    },
  ],
])('a receiver that is %s changes nothing for the caller', async (_, endpoint) => {
  const node = await start(endpoint())
  for (let i = 0; i < 20; i++) {
    const { events } = await call(node.url, {})
    expect(events.at(-1)).toMatchObject({ type: 'done', usage: { completionTokens: 5 } })
  }
})

test('the log has a line with the request’s id for what is served and what is refused, and neither tokens nor secrets', async () => {
  const node = await start(undefined)
  const { request } = await call(node.url, {})
  await node.generate({ prompt: [41, 42, 43], maxTokens: 100_000 })
  await node.generate({}, { body: '{"prompt": [41, 42, 43' })
  await fetch(`${node.url}/v1/generate`, { method: 'POST', headers: { authorization: `Bearer ${secret}` } })
  const lines = node.logged.map((line): Record<string, unknown> => JSON.parse(line))
  expect(lines.find(({ event }) => event === 'request')?.requestId).toBe(request.requestId)
  expect(lines.filter(({ event }) => event === 'refused')).toHaveLength(3)
  for (const line of lines.filter(({ event }) => event === 'refused')) expect(line.requestId).toMatch(/^req_/)
  for (const hidden of ['41,42,43', '41, 42', secret, 'Bearer'])
    expect(node.logged.join('\n')).not.toContain(hidden)
})

describe('/metrics', () => {
  test('is what Prometheus reads, and counts what was served', async () => {
    const node = await start(undefined)
    await call(node.url, {}, 5)
    await call(node.url, {}, 1)
    const response = await fetch(`${node.url}/metrics`)
    expect(response.headers.get('content-type')).toMatch(/^text\/plain; version=0\.0\.4/)
    const metrics = parsePrometheus(await response.text())
    const sample = (name: string, suffix = '') =>
      metrics.get(`quartet_node_${name}`)?.samples.find((each) => each.name.endsWith(name + suffix))?.value
    expect(metrics.get('quartet_node_requests_total')?.samples).toEqual([
      { name: 'quartet_node_requests_total', labels: { outcome: 'length' }, value: 2 },
    ])
    expect(sample('decode_tokens_total')).toBe(4)
    expect(sample('time_to_first_token_seconds', '_count')).toBe(2)
    expect(sample('time_per_output_token_seconds', '_count')).toBe(1)
    for (const [name, { help }] of metrics) expect(help, name).not.toBe('')
    for (const [name, { type }] of metrics)
      if (name.startsWith('quartet_')) expect(type === 'counter', name).toBe(name.endsWith('_total'))
  })

  test('has no label whose values callers choose', async () => {
    const node = await start(undefined)
    for (const path of ['/v1/nowhere', '/v1/elsewhere?x=1']) await fetch(node.url + path)
    await fetch(`${node.url}/v1/generate?x=1`, { method: 'POST', headers: { authorization: 'Bearer x' } })
    const metrics = parsePrometheus(await (await fetch(`${node.url}/metrics`)).text())
    const labels = [...metrics]
      .filter(([name]) => name.startsWith('quartet_'))
      .flatMap(([, { samples }]) => samples.flatMap((each) => Object.keys(each.labels)))
    expect([...new Set(labels)].toSorted()).toEqual(['le', 'outcome'])
  })
})

test('the parser refuses what a scraper would', () => {
  for (const text of [
    'x 1',
    'x 1\n',
    '# HELP x y\n# TYPE x gauge\nx{a="b"c} 1\n',
    '# HELP x y\n# TYPE x gauge\nx 1\nx 2\n',
    '# HELP x y\n# TYPE x histogram\nx_bucket{le="1"} 2\nx_bucket{le="+Inf"} 1\nx_sum 1\nx_count 1\n',
  ])
    expect(() => parsePrometheus(text), text).toThrow()
})
