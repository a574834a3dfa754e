import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { OpenAI, toFile } from 'openai'
import { afterEach, expect, test } from 'vitest'
import { adminClient } from '../../cli/edge/admin-client.ts'
import { BatchId } from '../../shared/api/batches.ts'
import type { EdgeBackbone } from '../../shared/backbone.ts'
import { BackboneDigest, BackboneSlug, TenantId } from '../../shared/ids.ts'
import type { StubBehaviour } from '../fakes/stub-behaviour.ts'
import { startStubNode } from '../fakes/stub-node.ts'
import { byteIds, tinyChat, tinySpecials, tinyTokenizer } from '../fakes/tiny-tokenizer.ts'
import { startWorkerProcess, type WorkerProcess } from './worker-process.ts'

/** A batch whose node and whose worker are killed in its middle. */

const adminKey = 'an-admin-key-of-some-length'
const tenant = TenantId.parse('acme')
const backbone: EdgeBackbone = {
  slug: BackboneSlug.parse('tiny'),
  digest: BackboneDigest.parse('ab'.repeat(32)),
  tokens: { bos: tinySpecials.imStart, eos: [tinySpecials.imEnd] },
  chat: tinyChat,
  contextLength: 512,
  d: 4,
  layers: 1,
  vocab: 512,
}

const stops: (() => PromiseLike<unknown>)[] = []
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop()
})

const tokens = 20
const behaviour: StubBehaviour = { tokens: byteIds('x'.repeat(tokens)), delayMs: 15, reason: 'length' }

/** A node that can be killed. */
async function startNodeProcess(): Promise<{ readonly url: string; readonly child: ChildProcess }> {
  const child = fork(fileURLToPath(new URL('../fakes/stub-node-process.ts', import.meta.url)), [
    JSON.stringify(behaviour),
  ])
  stops.push(async () => child.kill('SIGKILL'))
  const [url] = await once(child, 'message')
  return { url: String(url), child }
}

test('a batch whose node and then whose worker are killed is complete in the end, each request answered and paid once', async () => {
  const steady = await startStubNode(behaviour)
  stops.push(() => steady.close())
  const doomed = await startNodeProcess()
  const state = await mkdtemp(join(tmpdir(), 'quartet-batch-'))
  stops.push(() => rm(state, { recursive: true, force: true }))
  const start = async (): Promise<WorkerProcess> => {
    const worker = await startWorkerProcess(
      {
        QUARTET_NODES: JSON.stringify([
          { id: 'steady', url: steady.url },
          { id: 'doomed', url: doomed.url },
        ]),
        QUARTET_NODE_SECRET: 's'.repeat(32),
        QUARTET_ADMIN_KEY: adminKey,
        QUARTET_GATHER_MS: '10',
        QUARTET_LOG_LEVEL: 'error',
      },
      state,
    )
    stops.push(() => worker.kill())
    return worker
  }
  const first = await start()
  const admin = adminClient({ edge: first.url, adminKey })
  await admin.putBackbone({ backbone, tokenizer: tinyTokenizer })
  await admin.createTenant(tenant, {})
  const { key } = await admin.createKey(tenant, {})
  const clientOf = ({ url }: WorkerProcess) =>
    new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 10 })
  const client = clientOf(first)

  const ids = Array.from({ length: 40 }, (_, at) => `request-${String(at).padStart(2, '0')}`)
  const lines = ids.map((custom_id) => ({
    custom_id,
    method: 'POST',
    url: '/v1/completions',
    body: { model: 'tiny', prompt: `hello ${custom_id}`, max_tokens: tokens },
  }))
  const file = await client.files.create({
    purpose: 'batch',
    file: await toFile(Buffer.from(lines.map((line) => JSON.stringify(line)).join('\n')), 'requests.jsonl'),
  })
  const { id } = await client.batches.create({
    input_file_id: file.id,
    endpoint: '/v1/completions',
    completion_window: '24h',
  })
  const counted = async (client: OpenAI) => (await client.batches.retrieve(id)).request_counts?.completed ?? 0
  const untilCompleted = async (client: OpenAI, least: number) => {
    while ((await counted(client)) < least) await delay(30)
  }

  await untilCompleted(client, 4)
  doomed.child.kill('SIGKILL')
  await untilCompleted(client, 12)
  await first.kill()

  const second = await start()
  const again = clientOf(second)
  expect(await counted(again)).toBeLessThan(ids.length)
  await untilCompleted(again, ids.length)
  await expect
    .poll(async () => (await again.batches.retrieve(id)).status, { timeout: 20_000 })
    .toBe('completed')
  const batch = await again.batches.retrieve(BatchId.parse(id))
  expect(batch.request_counts).toEqual({ total: ids.length, completed: ids.length, failed: 0 })
  expect(batch.error_file_id).toBeNull()
  const output = await (await again.files.content(batch.output_file_id ?? '')).text()
  const answered = output
    .trim()
    .split('\n')
    .map((line): { custom_id: string } => JSON.parse(line))
  expect(answered.map(({ custom_id }) => custom_id)).toEqual(ids)
  // No answer is paid twice, whatever was asked twice. What the dead worker had not yet told its ledger is the nodes' to tell.
  const sum = async (of: 'requests' | 'completion_tokens') =>
    (await adminClient({ edge: second.url, adminKey }).usage({ tenant })).reduce(
      (total, row) => total + row[of],
      0,
    )
  await expect.poll(() => sum('requests'), { timeout: 20_000 }).toBeGreaterThanOrEqual(ids.length - 8)
  expect(await sum('requests')).toBeLessThanOrEqual(ids.length)
  expect(await sum('completion_tokens')).toBeLessThanOrEqual(ids.length * tokens)
  // Only requests that were under way when one of the two was killed were asked again.
  const asked = steady.calls.length
  expect(asked).toBeLessThanOrEqual(ids.length + 8)
})
