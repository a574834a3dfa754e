import { fork } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { adminClient } from '../cli/admin-client.ts'
import { edgeBackbone } from '../cli/local/local-backbone.ts'
import { startWorker } from '../cli/local/worker.ts'
import { TenantId } from '../shared/ids.ts'
import { benchBackbone } from './backend.ts'
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

async function completion(url: string, { key, i, model }: { key: string; i: number; model: string }) {
  const start = performance.now()
  const response = await fetch(`${url}/v1/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    body: JSON.stringify({ model, prompt: prompt(i), max_tokens: 1 }),
  })
  const text = await response.text()
  const ms = performance.now() - start
  if (!response.ok) throw new Error(text)
  const answer: { usage: { prompt_tokens: number } } = JSON.parse(text)
  return { ms, promptTokens: answer.usage.prompt_tokens }
}

/** Open loop: requests leave on schedule, whether or not the last is answered. */
async function paced(send: (i: number) => Promise<{ ms: number; promptTokens: number }>) {
  const answers = await Promise.all(
    Array.from({ length: clients * requestsPerClient }, async (_, i) => {
      await sleep((i * paceMs) / clients + Math.random() * (paceMs / clients))
      return send(i)
    }),
  )
  return answers
}

export async function benchEdge(): Promise<boolean> {
  const stub = fork(new URL('./stub-node-process.ts', import.meta.url), {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  })
  const [nodeUrl]: unknown[] = await once(stub, 'message')
  const stateFolder = await mkdtemp(join(tmpdir(), 'quartet-bench-'))
  const adminKey = randomBytes(32).toString('hex')
  const worker = await startWorker({
    port: edgePort,
    stateFolder,
    vars: {
      QUARTET_NODES: JSON.stringify([{ id: 'stub', url: nodeUrl }]),
      QUARTET_NODE_SECRET: randomBytes(32).toString('hex'),
      QUARTET_ADMIN_KEY: adminKey,
    },
  })
  try {
    const backbone = await benchBackbone()
    const model = backbone.manifest.slug
    const admin = adminClient({ edge: worker.url, adminKey })
    await admin.putBackbone(await edgeBackbone(backbone))
    await admin.createTenant(TenantId.parse('bench'))
    const { key } = await admin.createKey(TenantId.parse('bench'))
    const send = (i: number) => completion(worker.url, { key, i, model })
    for (let i = 0; i < 300; i++) await send(i)
    const answers = await paced((i) => send(1000 + i))
    const times = answers.map(({ ms }) => ms)
    const tokens = answers.map(({ promptTokens }) => promptTokens)
    const rate = Math.round((clients * 1000) / paceMs)
    return report(
      `edge: ${clients} clients, ${rate} requests/s in all, client's clock, node answers at once`,
      [
        {
          name: 'prompt tokens, median',
          value: quantile(tokens, 0.5),
          unit: 'tokens',
          bound: { kind: 'at least', value: 500 },
        },
        {
          name: 'whole request, median',
          value: quantile(times, 0.5),
          unit: 'ms',
          bound: { kind: 'at most', value: 3 },
        },
        {
          name: 'whole request, p95',
          value: quantile(times, 0.95),
          unit: 'ms',
          bound: { kind: 'at most', value: 8 },
        },
        { name: 'whole request, p99', value: quantile(times, 0.99), unit: 'ms' },
      ],
    )
  } finally {
    stub.kill()
    await worker[Symbol.asyncDispose]()
    await rm(stateFolder, { recursive: true, force: true })
  }
}
