import { fork } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { z } from 'zod'
import { adminClient } from '../cli/edge/admin-client.ts'
import { edgeBackbone } from '../cli/local/local-backbone.ts'
import { startWorker } from '../cli/local/worker.ts'
import { type AdapterDigest, AliasName, TenantId } from '../shared/ids.ts'
import { benchBackbone } from './backend.ts'
import { benchStreams } from './edge-streams.ts'
import { benchTokenizers } from './edge-tokenizers.ts'
import { benchUpload } from './edge-upload.ts'
import { publishRandomAdapter } from './publish-random-adapter.ts'
import { report } from './report.ts'
import { quantile } from './statistics.ts'

const clients = 16
const requestsPerClient = 60
/** Each client sends a request about this often, so that latency is measured and not a queue. */
const paceMs = 200
const edgePort = 18_787

/** Roughly 500 tokens of text, different for each request so that nothing is answered from a cache. */
function prompt(i: number): string {
  const sentence = `Order ${i} left the harbour late, and the crew of the small boat waited for wind and tide. `
  return sentence.repeat(23)
}

interface Timed {
  readonly ms: number
  readonly text: string
}

async function post(url: string, { body, key = '' }: { body: unknown; key?: string }): Promise<Timed> {
  const start = performance.now()
  const response = await fetch(url, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  })
  const text = await response.text()
  if (!response.ok) throw new Error(text)
  return { ms: performance.now() - start, text }
}

const CountedAnswer = z.object({ usage: z.object({ prompt_tokens: z.int() }) })

/** The same request through the edge, and as the edge puts it to the node, straight to the node. */
async function pair({ adapter, alias, edge, key, node }: Route, i: number) {
  const whole = await post(`${edge}/v1/completions`, {
    key,
    body: { model: alias, prompt: prompt(i), max_tokens: 1 },
  })
  const { prompt_tokens: promptTokens } = CountedAnswer.parse(JSON.parse(whole.text)).usage
  const ids = Array.from({ length: promptTokens }, (_, at) => 1000 + at)
  const direct = await post(`${node}/v1/generate`, { body: { adapter, prompt: ids, maxTokens: 1 } })
  return { promptTokens, wholeMs: whole.ms, directMs: direct.ms, overheadMs: whole.ms - direct.ms }
}

/** What a node is asked, through a worker that only passes it on, and straight to the node. */
async function passed({ adapter, edge, node }: Route, i: number): Promise<number> {
  const body = { adapter, prompt: Array.from({ length: 553 }, (_, at) => 1000 + i + at), maxTokens: 1 }
  const { ms } = await post(`${edge}/bench/pass`, { body })
  return ms - (await post(`${node}/v1/generate`, { body })).ms
}

interface Route {
  readonly edge: string
  readonly node: string
  readonly key: string
  readonly alias: AliasName
  /** The adapter that the alias names. */
  readonly adapter: AdapterDigest
}

/** Open loop: requests leave on schedule, whether or not the last is answered. */
function paced<T>(send: (i: number) => Promise<T>): Promise<T[]> {
  return Promise.all(
    Array.from({ length: clients * requestsPerClient }, async (_, i) => {
      await sleep((i * paceMs) / clients + Math.random() * (paceMs / clients))
      return send(i)
    }),
  )
}

const generous = {
  requestsPerMinute: 1_000_000,
  tokensPerMinute: 1_000_000_000,
  concurrentRequests: 1_000,
  tokensPerDay: 100_000_000_000,
  tokensPerMonth: 1_000_000_000_000,
}

/** The keys are names of bindings. */
const durableObjects = {
  BUDGETS: "the budget's owner",
  FEED: 'the change feed',
  REGISTRY: 'the registry of nodes',
  TENANTS: "the tenant's directory",
  AUDIT: 'the audit log',
  IDEMPOTENCY: "Idempotency-Keys' records",
}

/** Calls to KV and Durable Objects since the worker's start, by binding, as test/edge/counted-calls.ts counts them. */
async function callsOf(edge: string): Promise<Readonly<Record<string, number>>> {
  return z.record(z.string(), z.int()).parse(await (await fetch(`${edge}/bench/calls`)).json())
}

export async function benchEdge(): Promise<boolean> {
  const stub = fork(new URL('./stub-node-process.ts', import.meta.url), {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  })
  const node = z.url().parse((await once(stub, 'message'))[0])
  const stateFolder = await mkdtemp(join(tmpdir(), 'quartet-bench-'))
  const adminKey = randomBytes(32).toString('hex')
  const worker = await startWorker({
    port: edgePort,
    stateFolder,
    entry: fileURLToPath(new URL('../test/edge/counted-calls.ts', import.meta.url)),
    vars: {
      QUARTET_NODES: JSON.stringify([{ id: 'stub', url: node }]),
      QUARTET_NODE_SECRET: randomBytes(32).toString('hex'),
      QUARTET_ADMIN_KEY: adminKey,
      QUARTET_LOG_LEVEL: 'warn',
    },
  })
  try {
    const backbone = await benchBackbone()
    const admin = adminClient({ edge: worker.url, adminKey })
    await admin.putBackbone(await edgeBackbone(backbone))
    const tenant = TenantId.parse('bench')
    await admin.createTenant(tenant)
    // All limits are set and none is reached, so the whole control plane is measured.
    await admin.changeTenant(tenant, { policy: generous })
    const { key } = await admin.createKey(tenant)
    const alias = AliasName.parse('tuned')
    const { manifest } = backbone
    const adapter = await publishRandomAdapter(admin, { tenant, alias, manifest, seed: 1 })
    const route = { edge: worker.url, node, key, alias, adapter }
    for (let i = 0; i < 300; i++) {
      await pair(route, i)
      await passed(route, i)
    }
    const before = await callsOf(worker.url)
    const answers = await paced((i) => pair(route, 1000 + i))
    const after = await callsOf(worker.url)
    const bare = await paced((i) => passed(route, i))
    const uploader = TenantId.parse('uploader')
    await admin.createTenant(uploader)
    const uploadFigures = await benchUpload({
      edge: worker.url,
      uploader: (await admin.createKey(uploader)).key,
      neighbour: key,
    })
    const streamFigures = await benchStreams({ edge: worker.url, node, key, model: alias })
    const tokenizerFigures = await benchTokenizers()
    const made = (name: string) => (after[name] ?? 0) - (before[name] ?? 0)
    const per50 = (...names: string[]) =>
      (names.reduce((sum, name) => sum + made(name), 0) * 50) / answers.length
    const at = (q: number, name: 'promptTokens' | 'wholeMs' | 'directMs' | 'overheadMs') =>
      quantile(
        answers.map((answer) => answer[name]),
        q,
      )
    const rate = Math.round((clients * 1000) / paceMs)
    return report(
      `edge: ${clients} clients, ${rate} requests/s in all, client's clock, node answers at once`,
      [
        {
          name: 'prompt tokens, median',
          value: at(0.5, 'promptTokens'),
          unit: 'tokens',
          bound: { kind: 'at least', value: 500 },
        },
        { name: 'straight to the node, median', value: at(0.5, 'directMs'), unit: 'ms' },
        { name: 'through the edge, median', value: at(0.5, 'wholeMs'), unit: 'ms' },
        { name: 'through the edge, p95', value: at(0.95, 'wholeMs'), unit: 'ms' },
        {
          name: 'overhead (through - straight), median',
          value: at(0.5, 'overheadMs'),
          unit: 'ms',
          bound: { kind: 'at most', value: 3 },
        },
        {
          name: 'overhead, p95',
          value: at(0.95, 'overheadMs'),
          unit: 'ms',
          bound: { kind: 'at most', value: 8 },
        },
        { name: 'overhead of a worker that only passes on, median', value: quantile(bare, 0.5), unit: 'ms' },
        { name: '… p95', value: quantile(bare, 0.95), unit: 'ms' },
        ...Object.entries(durableObjects).map(([binding, name]) => ({
          name: `calls to ${name} per 50 requests`,
          value: per50(binding),
          unit: 'calls',
        })),
        {
          name: 'all Durable Object calls per 50 requests',
          value: per50(...Object.keys(durableObjects)),
          unit: 'calls',
          bound: { kind: 'at most', value: 1 },
        },
        ...uploadFigures,
        ...streamFigures,
        ...tokenizerFigures,
      ],
    )
  } finally {
    stub.kill()
    await worker[Symbol.asyncDispose]()
    await rm(stateFolder, { recursive: true, force: true })
  }
}
