import { mkdtemp, rm } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import OpenAI from 'openai'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { defaultBackbone } from '../../cli/command/settings.ts'
import { adminClient } from '../../cli/edge/admin-client.ts'
import { type Home, homeAt, makeHome } from '../../cli/local/home.ts'
import { edgeBackbone, requireBackbone } from '../../cli/local/local-backbone.ts'
import { ensureLocalSecrets, type LocalSecrets } from '../../cli/local/secrets.ts'
import { type Service, startService } from '../../cli/local/service.ts'
import { untilAnswers } from '../../cli/local/until-answers.ts'
import { TenantId } from '../../shared/ids.ts'
import { nodeGauge } from './node-metrics.ts'
import { freePorts } from './quartet-start.ts'

/** An edge whose node is small, dies, or is not there. The node may run one request and let one wait. */

const tenant = TenantId.parse('unlucky')

let home: Home
let secrets: LocalSecrets
let edge: { readonly url: string; readonly service: Service }
let node: { readonly url: string; readonly port: number; service: Service }
let client: OpenAI

beforeAll(async () => {
  home = homeAt(await mkdtemp(join(tmpdir(), 'quartet-unlucky-')))
  await makeHome(home)
  secrets = await ensureLocalSecrets(home)
  const ports = await freePorts()
  const url = `http://127.0.0.1:${ports.node}`
  node = { url, port: ports.node, service: await startSmallNode(ports.node) }
  edge = {
    url: `http://127.0.0.1:${ports.edge}`,
    service: await startService({
      name: 'edge',
      entry: new URL('../../cli/local/worker-process.ts', import.meta.url),
      home,
      stopGraceMs: 3000,
      env: {
        QUARTET_EDGE_PORT: String(ports.edge),
        QUARTET_EDGE_STATE: home.edgeState,
        QUARTET_NODES: JSON.stringify([{ id: 'small', url }]),
        QUARTET_NODE_SECRET: secrets.nodeSecret,
        QUARTET_ADMIN_KEY: secrets.adminKey,
      },
    }),
  }
  await untilAnswers(`${edge.url}/health`)
  const admin = adminClient({ edge: edge.url, adminKey: secrets.adminKey })
  await admin.putBackbone(await edgeBackbone(await requireBackbone(defaultBackbone)))
  await admin.createTenant(tenant)
  const { key } = await admin.createKey(tenant)
  client = new OpenAI({ baseURL: `${edge.url}/v1`, apiKey: key, maxRetries: 0 })
})

afterAll(async () => {
  await Promise.all([edge.service.stop(), node.service.stop()])
  await rm(home.folder, { recursive: true, force: true })
})

async function startSmallNode(port: number): Promise<Service> {
  const { folder } = await requireBackbone(defaultBackbone)
  const service = await startService({
    name: 'node',
    entry: new URL('../../gpu-node/main.ts', import.meta.url),
    home,
    stopGraceMs: 3000,
    env: {
      QUARTET_NODE_HOST: '127.0.0.1',
      QUARTET_NODE_PORT: String(port),
      QUARTET_NODE_ID: 'small',
      QUARTET_NODE_SECRET: secrets.nodeSecret,
      QUARTET_BACKBONE: folder,
      QUARTET_THREADS: '1',
      QUARTET_MAX_BATCH: '1',
      QUARTET_QUEUE: '1',
      QUARTET_DRAIN_SECONDS: '1',
    },
  })
  await Promise.race([untilAnswers(`http://127.0.0.1:${port}/ready`), service.failed])
  return service
}

const endless = {
  model: defaultBackbone,
  messages: [{ role: 'user' as const, content: 'Tell me a long story about the sea.' }],
  max_tokens: 4000,
  ignore_eos: true,
}

const stream = (signal?: AbortSignal) =>
  client.chat.completions.create({ ...endless, stream: true }, signal === undefined ? {} : { signal })

it('a full queue is a 429 with a Retry-After, and the streams that run go on', async () => {
  const controller = new AbortController()
  const running = await stream(controller.signal)
  await expect.poll(() => nodeGauge(node.url, 'running')).toBe(1)
  const waiting = stream(controller.signal)
  waiting.catch(() => undefined)
  await expect.poll(() => nodeGauge(node.url, 'queue_length')).toBe(1)

  const refused = await stream().catch((error: unknown) => error)
  expect(refused).toBeInstanceOf(OpenAI.RateLimitError)
  if (!(refused instanceof OpenAI.RateLimitError)) return
  expect(refused.code).toBe('queue_full')
  expect(Number(refused.headers.get('retry-after'))).toBeGreaterThanOrEqual(1)

  let pieces = 0
  for await (const chunk of running) {
    if (chunk.choices[0]?.delta.content) pieces += 1
    if (pieces === 5) break
  }
  expect(pieces).toBe(5)
  controller.abort()
  await expect.poll(() => nodeGauge(node.url, 'running'), { timeout: 5000 }).toBe(0)
  expect(await nodeGauge(node.url, 'queue_length')).toBe(0)
})

it('a client that leaves frees the node', async () => {
  const running = await stream()
  for await (const chunk of running) if (chunk.choices[0]?.delta.content) break
  await expect.poll(() => nodeGauge(node.url, 'running'), { timeout: 5000 }).toBe(0)
})

it('a reset connection frees the node, even while an answer that is not streamed is pending', async () => {
  const { hostname, port } = new URL(edge.url)
  const body = JSON.stringify(endless)
  const socket = connect({ host: hostname, port: Number(port) })
  socket.write(
    [
      'POST /v1/chat/completions HTTP/1.1',
      `host: ${hostname}`,
      `authorization: Bearer ${client.apiKey}`,
      'content-type: application/json',
      `content-length: ${body.length}`,
      '',
      body,
    ].join('\r\n'),
  )
  await expect.poll(() => nodeGauge(node.url, 'running')).toBe(1)
  socket.resetAndDestroy()
  await expect.poll(() => nodeGauge(node.url, 'running'), { timeout: 2000 }).toBe(0)
})

it('a node that dies during a stream ends it with an explicit error, never silently', async () => {
  const running = await stream()
  let pieces = 0
  const outcome = (async () => {
    for await (const chunk of running) {
      if (chunk.choices[0]?.delta.content) pieces += 1
      if (pieces === 5) node.service.kill()
    }
    return 'ended as if all was well'
  })()
  await expect(outcome).rejects.toMatchObject({ code: 'node_error' })
  expect(pieces).toBeGreaterThanOrEqual(5)
})

it('a node that is not there is a 503, and the edge recovers when it is back', async () => {
  const short = { ...endless, max_tokens: 3 }
  const refused = await client.chat.completions.create(short).catch((error: unknown) => error)
  expect(refused).toMatchObject({ status: 503, code: 'node_unavailable' })

  await node.service.stop()
  node.service = await startSmallNode(node.port)
  await expect
    .poll(
      () =>
        client.chat.completions.create(short).then(
          () => 'answers',
          () => 'refuses',
        ),
      {
        timeout: 30_000,
        interval: 500,
      },
    )
    .toBe('answers')
})
