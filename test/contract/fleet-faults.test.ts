import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { afterEach, expect, test } from 'vitest'
import { type AdminClient, adminClient } from '../../cli/edge/admin-client.ts'
import type { EdgeBackbone } from '../../shared/backbone.ts'
import { NodeId } from '../../shared/heartbeat.ts'
import { BackboneSlug, TenantId } from '../../shared/ids.ts'
import { FakeBackend, fakeBackbone } from '../fakes/fake-backend.ts'
import type { StubBehaviour } from '../fakes/stub-behaviour.ts'
import { byteIds, tinyChat, tinySpecials, tinyTokenizer } from '../fakes/tiny-tokenizer.ts'
import { fakeNode, secret } from './node-client.ts'
import { startWorkerProcess, type WorkerProcess } from './worker-process.ts'

/** Bursts and deaths of nodes, at the worker in workerd and over real sockets. */

const adminKey = 'an-admin-key-of-some-length'
const vocab = 512
const backbone: EdgeBackbone = {
  slug: BackboneSlug.parse('fake'),
  digest: fakeBackbone,
  tokens: { bos: tinySpecials.imStart, eos: [tinySpecials.imEnd] },
  chat: tinyChat,
  contextLength: 2048,
  d: 4,
  layers: 1,
  vocab,
}

const started: { stop: () => PromiseLike<unknown> }[] = []
afterEach(async () => {
  for (const { stop } of started.splice(0).reverse()) await stop()
})

async function startEdge(
  nodes: readonly { id: string; url: string }[],
): Promise<[WorkerProcess, AdminClient]> {
  const edge = await startWorkerProcess({
    QUARTET_NODES: JSON.stringify(nodes),
    QUARTET_NODE_SECRET: secret,
    QUARTET_ADMIN_KEY: adminKey,
    QUARTET_GATHER_MS: '50',
    QUARTET_LOG_LEVEL: 'warn',
  })
  started.push({ stop: () => edge[Symbol.asyncDispose]() })
  const admin = adminClient({ edge: edge.url, adminKey })
  await admin.putBackbone({ backbone, tokenizer: tinyTokenizer })
  return [edge, admin]
}

const ask = (edge: WorkerProcess, key: string, body: object) =>
  fetch(`${edge.url}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'fake', messages: [{ role: 'user', content: 'hi' }], ...body }),
  })

test('a burst of 330 streams on an idle fleet with slow steps finds places in queues, and all are answered', async () => {
  const [edge, admin] = await startEdge([])
  for (const id of ['left', 'right']) {
    const backend = new FakeBackend({ vocab, maxBatch: 16, cacheRows: 16 * 64 })
    backend.beforeCall = () => delay(20)
    const node = await fakeNode({
      backend,
      settings: { edge: edge.url, nodeId: NodeId.parse(id), queue: 400, tenantQueue: 400 },
    })
    started.push({ stop: () => node.close() })
  }
  const isReady = async () =>
    (await admin.fleet()).nodes.filter(({ state }) => state === 'ready').length === 2
  await expect.poll(isReady, { timeout: 20_000 }).toBe(true)
  const keys = await Promise.all(
    ['one', 'two', 'three'].map(async (name) => {
      const id = TenantId.parse(name)
      await admin.createTenant(id)
      return (await admin.createKey(id)).key
    }),
  )
  const answers = await Promise.all(
    Array.from({ length: 330 }, async (_, at) => {
      const answer = await ask(edge, keys[at % keys.length] ?? '', { stream: true, max_tokens: 2 })
      const text = (await answer.text()).trim()
      return `${answer.status} ${text.slice(-100).split('\n').at(-1)}`
    }),
  )
  expect(
    Object.fromEntries([...Map.groupBy(answers, (of) => of)].map(([of, all]) => [of, all.length])),
  ).toEqual({
    '200 data: [DONE]': 330,
  })
})

const stubEntry = fileURLToPath(new URL('../fakes/stub-node-process.ts', import.meta.url))

async function startStubProcess(behaviour: StubBehaviour): Promise<{ url: string; child: ChildProcess }> {
  const child = fork(stubEntry, [JSON.stringify(behaviour)])
  started.push({ stop: async () => child.kill('SIGKILL') })
  const [url] = await once(child, 'message')
  return { child, url: String(url) }
}

test('the unused reservation of a stream whose node is killed is free, and its seen tokens are charged', async () => {
  const behaviour = { tokens: byteIds('x'.repeat(400)), delayMs: 30 }
  const nodes = [await startStubProcess(behaviour), await startStubProcess(behaviour)]
  const [edge, admin] = await startEdge(nodes.map(({ url }, at) => ({ id: `node-${at}`, url })))
  const id = TenantId.parse('acme')
  await admin.createTenant(id, { tokensPerDay: 500, concurrentRequests: 1 })
  const { key } = await admin.createKey(id)

  const stream = await ask(edge, key, { stream: true, max_tokens: 300 })
  const served = Number(stream.headers.get('x-quartet-node')?.slice(-1))
  let text = ''
  for await (const chunk of stream.body?.pipeThrough(new TextDecoderStream()) ?? []) {
    text += chunk
    if (text.split('"x"').length - 1 >= 7) nodes[served]?.child.kill('SIGKILL')
  }
  expect(text).toMatch(/"error":/)
  const seen = text.split('"x"').length - 1
  expect(seen).toBeLessThan(300)

  // The limit has no room for as much again until what was not used is free.
  await expect
    .poll(async () => (await admin.budget(id)).held, { timeout: 20_000 })
    .toMatchObject({ tokens: 0, slots: 0 })
  const [row] = await admin.usage({ tenant: id })
  expect(row).toMatchObject({ requests: 1, errors: 1, completion_tokens: seen })
  const next = await ask(edge, key, { max_tokens: 300, stream: true })
  expect(next.status).toBe(200)
  await next.body?.cancel()
})
