import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { adminClient } from '../../cli/edge/admin-client.ts'
import { type LocalWorker, startWorker } from '../../cli/local/worker.ts'
import { BackboneSlug, TenantId } from '../../shared/ids.ts'
import { telemetrySettings } from '../../shared/telemetry/settings.ts'
import { FakeBackend, fakeBackbone } from '../fakes/fake-backend.ts'
import type { ReceivedSpan } from '../fakes/otlp-received.ts'
import { type OtlpReceiver, startOtlpReceiver } from '../fakes/otlp-receiver.ts'
import { tinyChat, tinySpecials, tinyTokenizer } from '../fakes/tiny-tokenizer.ts'
import { fakeNode, nodeId, secret } from './node-client.ts'

/** The worker in workerd, a node over the fake backend and an OTLP receiver, each at its own socket. */

const adminKey = 'an-admin-key-of-some-length'
const open: AsyncDisposable[] = []
let receiver: OtlpReceiver
let edge: LocalWorker
let key: string

beforeAll(async () => {
  receiver = await startOtlpReceiver()
  const telemetry = telemetrySettings({ QUARTET_OTLP_ENDPOINT: receiver.url })
  const backend = new FakeBackend({ vocab: 512 })
  const node = await fakeNode({ backend, settings: { telemetry, drainSeconds: 0 } })
  const stateFolder = await mkdtemp(join(tmpdir(), 'quartet-tracing-'))
  edge = await startWorker({
    port: await freePort(),
    stateFolder,
    vars: {
      QUARTET_NODES: JSON.stringify([{ id: nodeId, url: node.url }]),
      QUARTET_NODE_SECRET: secret,
      QUARTET_ADMIN_KEY: adminKey,
      QUARTET_OTLP_ENDPOINT: receiver.url,
      QUARTET_LOG_LEVEL: 'warn',
    },
  })
  open.push(
    edge,
    disposable(node.close),
    disposable(receiver.close),
    disposable(() => rm(stateFolder, { recursive: true })),
  )
  const admin = adminClient({ edge: edge.url, adminKey })
  await admin.putBackbone({
    backbone: {
      slug: BackboneSlug.parse('tiny'),
      digest: fakeBackbone,
      tokens: { bos: tinySpecials.imStart, eos: [tinySpecials.imEnd] },
      chat: tinyChat,
      contextLength: 512,
      d: 4,
      layers: 1,
      vocab: 512,
    },
    tokenizer: tinyTokenizer,
  })
  await admin.createTenant(TenantId.parse('acme'))
  key = (await admin.createKey(TenantId.parse('acme'))).key
})
afterAll(async () => {
  for (const each of open) await each[Symbol.asyncDispose]()
})

const disposable = (close: () => Promise<void>): AsyncDisposable => ({ [Symbol.asyncDispose]: close })

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const address = probe.address()
  probe.close()
  await once(probe, 'close')
  return typeof address === 'object' && address !== null ? address.port : 0
}

test('a streamed chat is one trace from the client through the edge to the node’s decode', async () => {
  const traceId = '4bf92f3577b34da6a3ce929d0e0e4736'
  const clientSpan = '00f067aa0ba902b7'
  const response = await fetch(`${edge.url}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, traceparent: `00-${traceId}-${clientSpan}-01` },
    body: JSON.stringify({
      model: 'tiny',
      messages: [{ role: 'user', content: 'a marked prompt' }],
      max_tokens: 6,
      ignore_eos: true,
      stream: true,
    }),
  })
  expect(await response.text()).toMatch(/\[DONE\]\n\n$/)
  expect(response.headers.get('traceparent')).toMatch(new RegExp(`^00-${traceId}-[0-9a-f]{16}-01$`))

  const spans = await vi.waitFor(
    () => {
      const received = receiver.received().spans.filter((span) => span.traceId === traceId)
      expect(new Set(received.map(({ service }) => service))).toEqual(
        new Set(['quartet-edge', 'quartet-node']),
      )
      return received
    },
    { timeout: 10_000, interval: 50 },
  )
  expect(receiver.received().refused).toEqual([])
  const byId = new Map(spans.map((span) => [span.spanId, span]))
  const pathOf = (span: ReceivedSpan | undefined): string[] =>
    span === undefined ? [] : [...pathOf(byId.get(span.parentSpanId ?? '')), span.name]
  expect(pathOf(spans.find(({ name }) => name === 'decode'))).toEqual([
    'POST /v1/chat/completions',
    'chat tiny',
    'POST /v1/generate',
    'POST /v1/generate',
    'decode',
  ])
  const parents = new Set(spans.map(({ parentSpanId }) => parentSpanId ?? ''))
  expect([...parents].filter((parent) => !byId.has(parent))).toEqual([clientSpan])

  const counts = spans.flatMap(({ attributes, service }) =>
    attributes['gen_ai.usage.output_tokens'] === undefined
      ? []
      : [[service, attributes['gen_ai.usage.input_tokens'], attributes['gen_ai.usage.output_tokens']]],
  )
  const input = counts[0]?.[1]
  expect(counts.toSorted()).toEqual([
    ['quartet-edge', input, 6],
    ['quartet-node', input, 6],
  ])
  expect(receiver.received().bodies.join()).not.toContain('marked prompt')
})
