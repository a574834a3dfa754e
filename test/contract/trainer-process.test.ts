import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { OpenAI, toFile } from 'openai'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { adminClient } from '../../cli/edge/admin-client.ts'
import { edgeBackbone } from '../../cli/local/local-backbone.ts'
import { type LocalWorker, startWorker } from '../../cli/local/worker.ts'
import { servingEncoder } from '../../cli/tokenizer/serving-encoder.ts'
import { openBackbone } from '../../model/backbone/backbone-folder.ts'
import { parseTokenizer } from '../../model/import/tokenizer.ts'
import { type Job, JobCheckpointList, JobId, Job as JobSchema } from '../../shared/api/fine-tuning.ts'
import { QuartetError } from '../../shared/errors.ts'
import { TenantId } from '../../shared/ids.ts'
import { nodeTokenKey } from '../../shared/node-token.ts'
import { TrainerId, type TrainingWork } from '../../shared/training/trainer-protocol.ts'
import { EdgeClient } from '../../training/trainer/edge-client.ts'
import { runJob } from '../../training/trainer/run-job.ts'
import { tinyChat, tinySpecials, tinyTokenizer } from '../fakes/tiny-tokenizer.ts'
import { type TinyBackbone, tinyBackbone } from '../parity/tiny-backbone.ts'

/** Trainers as processes of their own, against the worker in workerd. They train a tiny backbone in earnest. */

const secret = 's'.repeat(32)
const adminKey = 'an-admin-key-of-some-length'
const leaseSeconds = 2
const tenant = TenantId.parse('acme')

let backbone: TinyBackbone
let stateFolder: string
let edge: LocalWorker
let client: OpenAI
let rogue: EdgeClient

beforeAll(async () => {
  backbone = await tinyBackbone({
    config: { vocab: 304, contextLength: 256 },
    text: {
      tokenizer: parseTokenizer(tinyTokenizer),
      tokens: { bos: tinySpecials.imStart, eos: [tinySpecials.imEnd] },
      chat: tinyChat,
    },
  })
  stateFolder = await mkdtemp(join(tmpdir(), 'quartet-trainers-'))
  edge = await startWorker({
    port: await freePort(),
    stateFolder,
    vars: {
      QUARTET_NODES: '[]',
      QUARTET_NODE_SECRET: secret,
      QUARTET_ADMIN_KEY: adminKey,
      QUARTET_LOG_LEVEL: 'warn',
      QUARTET_TRAINER_LEASE_SECONDS: String(leaseSeconds),
    },
  })
  const admin = adminClient({ edge: edge.url, adminKey })
  await admin.putBackbone(await edgeBackbone(await openBackbone(backbone.folder)))
  await admin.createTenant(tenant, {})
  const { key } = await admin.createKey(tenant, {})
  client = new OpenAI({ baseURL: `${edge.url}/v1`, apiKey: key, maxRetries: 5 })
  rogue = new EdgeClient({ edge: edge.url, key: nodeTokenKey(secret), trainer: TrainerId.parse('rogue') })
})

const trainers: ChildProcess[] = []
afterEach(async () => {
  await Promise.all(trainers.splice(0).map((trainer) => end(trainer, 'SIGKILL')))
})
afterAll(async () => {
  await edge[Symbol.asyncDispose]()
  await rm(stateFolder, { recursive: true })
  await rm(dirname(backbone.folder), { recursive: true })
})

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const address = probe.address()
  probe.close()
  await once(probe, 'close')
  return typeof address === 'object' && address !== null ? address.port : 0
}

interface Trainer {
  readonly process: ChildProcess
  /** Jobs that it has claimed so far. */
  readonly claimed: readonly string[]
}

function startTrainer(id: string): Trainer {
  const child = spawn(
    process.execPath,
    [fileURLToPath(new URL('../../cli/trainer/trainer-process.ts', import.meta.url))],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: {
        ...process.env,
        QUARTET_TRAINER_ID: id,
        QUARTET_EDGE_URL: edge.url,
        QUARTET_NODE_SECRET: secret,
        QUARTET_BACKBONE: backbone.folder,
        QUARTET_TRAINER_NICE: '0',
      },
    },
  )
  trainers.push(child)
  const claimed: string[] = []
  createInterface({ input: child.stdout }).on('line', (line) => {
    const { event, job }: { event?: string; job?: string } = JSON.parse(line)
    if (event === 'job_claimed' && job !== undefined) claimed.push(job)
  })
  return { process: child, claimed }
}

async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const gone = once(child, 'exit')
  child.kill(signal)
  await gone
}

async function createJob(seed: number, epochs = 50): Promise<string> {
  const lines = Array.from({ length: 20 }, (_, at) =>
    JSON.stringify({ prompt: `hello ${at}`, completion: at % 2 === 0 ? 'world' : 'order' }),
  )
  const file = await client.files.create({
    purpose: 'fine-tune',
    file: await toFile(Buffer.from(lines.join('\n')), 'examples.jsonl'),
  })
  const job = await client.fineTuning.jobs.create({
    model: 'tiny',
    training_file: file.id,
    seed,
    method: { type: 'supervised', supervised: { hyperparameters: { n_epochs: epochs, batch_size: 8 } } },
  })
  return job.id
}

const shown = async (id: string): Promise<Job> => JobSchema.parse(await client.fineTuning.jobs.retrieve(id))

async function ended(id: string): Promise<Job> {
  for (;;) {
    const job = await shown(id)
    if (job.finished_at !== null) return job
    await delay(100)
  }
}

async function messagesOf(id: string): Promise<readonly string[]> {
  const messages: string[] = []
  for await (const event of client.fineTuning.jobs.listEvents(id, { limit: 100 }))
    if (event.type === 'message') messages.push(event.message)
  return messages
}

async function firstCheckpoint(id: string): Promise<number> {
  for (;;) {
    const { data } = JobCheckpointList.parse(await client.get(`/fine_tuning/jobs/${id}/checkpoints`))
    const step = data[0]?.step_number
    if (step !== undefined) return step
    await delay(20)
  }
}

test('a trainer that is killed loses the steps since its last checkpoint alone, and others go on: one with each job, to the same adapter', async () => {
  const first = startTrainer('first')
  const whole = await createJob(1)
  const reference = await ended(whole)
  expect(reference).toMatchObject({ status: 'succeeded', error: null })

  const killed = await createJob(1)
  await firstCheckpoint(killed)
  await end(first.process, 'SIGKILL')
  const { data } = JobCheckpointList.parse(await client.get(`/fine_tuning/jobs/${killed}/checkpoints`))
  const left = await shown(killed)
  expect(left.status).toBe('running')
  const kept = data[0]?.step_number ?? 0
  expect(kept).toBeGreaterThan(0)
  expect(kept).toBeLessThan(left.progress?.steps ?? 0)

  // Another job has a checkpoint of the first in the place of its own, as of a trainer that mistook them.
  const mistaken = await createJob(2)
  const work = await claimAsRogue(mistaken)
  await rogue.putCheckpoint(work, { bytes: await checkpointOf(whole), step: 90, validLoss: undefined })
  await rogue.report(work, { type: 'released', why: 'stopping' })

  const others = [startTrainer('second'), startTrainer('third')]
  const resumed = await ended(killed)
  expect(await messagesOf(killed)).toContain(`Going on from the checkpoint of step ${kept}`)
  expect(resumed).toMatchObject({
    status: 'succeeded',
    adapter: reference.adapter,
    trained_tokens: reference.trained_tokens,
    evaluation: reference.evaluation,
  })
  expect(await ended(mistaken)).toMatchObject({
    status: 'succeeded',
    error: null,
    progress: { step: 150, steps: 150 },
  })
  expect(await messagesOf(mistaken)).toContain('Training begins anew: the checkpoint is of another training')
  const claimed = others.flatMap((trainer) => trainer.claimed)
  expect(claimed.toSorted()).toEqual([killed, mistaken].toSorted())
})

test('a job whose models cannot answer side by side has its model nevertheless, and says why they are not compared', async () => {
  const folder = await openBackbone(backbone.folder)
  const encoder = await servingEncoder(folder)
  const failures = [
    [new QuartetError('invalid_request', 'the prompt is too short'), 'the prompt is too short'],
    [new Error('out of memory'), 'the trainer failed while the models answered; its log has the reason'],
  ] as const
  for (const [thrown, says] of failures) {
    const job = await createJob(3, 1)
    await runJob(rogue, await claimAsRogue(job), {
      backbone: folder,
      encoder,
      answers: async () => {
        // Longer than the lease, which the trainer renews meanwhile.
        await delay(1_500 * leaseSeconds)
        throw thrown
      },
      log: () => {},
      signal: new AbortController().signal,
    })
    const done = await shown(job)
    expect(done).toMatchObject({
      status: 'succeeded',
      error: null,
      adapter: expect.stringMatching(/^[0-9a-f]{64}$/),
      evaluation: { accuracy: null, samples: [], answers_error: says },
    })
    expect(done.evaluation?.tuned_loss).toBeGreaterThan(0)
    expect(await messagesOf(job)).toContain(`The models' answers were not compared: ${says}`)
  }
})

const usual = async () => {
  const folder = await openBackbone(backbone.folder)
  const signal = new AbortController().signal
  return { backbone: folder, encoder: await servingEncoder(folder), threads: 1, log: () => {}, signal }
}
const unshown = async () => ({ accuracy: null, samples: [] })

test('a job whose samples are long texts succeeds, and shows their beginnings', async () => {
  const job = await createJob(4, 1)
  const text = 'x'.repeat(100_000)
  const sample = { prompt: text, expected: text, untuned: text, tuned: 'short' }
  await runJob(rogue, await claimAsRogue(job), {
    ...(await usual()),
    answers: async () => ({ accuracy: null, samples: Array.from({ length: 4 }, () => sample) }),
  })
  const { evaluation, status } = await shown(job)
  expect(status).toBe('succeeded')
  const begun = text.slice(0, 8_000)
  expect(evaluation?.samples).toHaveLength(4)
  expect(evaluation?.samples[3]).toEqual({ prompt: begun, expected: begun, untuned: begun, tuned: 'short' })
})

test('a job whose last checkpoint is lost begins anew', async () => {
  const job = await createJob(5, 1)
  const work = await claimAsRogue(job)
  // The bytes of the one before go with each new one: those of step 2 are gone.
  for (const step of [2, 1])
    await rogue.putCheckpoint(work, { bytes: new Uint8Array(8), step, validLoss: undefined })
  await rogue.report(work, { type: 'released', why: 'stopping' })
  const again = await claimAsRogue(job)
  expect(again.checkpointStep).toBe(2)
  await runJob(rogue, again, { ...(await usual()), answers: unshown })
  expect(await shown(job)).toMatchObject({ status: 'succeeded', error: null })
  expect(await messagesOf(job)).toContain('Training begins anew: the checkpoint is lost')
})

test('a trainer keeps its lease while it publishes, however long that takes', async () => {
  class Slow extends EdgeClient {
    override async putAdapter(...of: Parameters<EdgeClient['putAdapter']>) {
      await delay(1_500 * leaseSeconds)
      return super.putAdapter(...of)
    }
  }
  const slow = new Slow({ edge: edge.url, key: nodeTokenKey(secret), trainer: TrainerId.parse('slow') })
  const job = await createJob(6, 1)
  const work = await claimAsRogue(job)
  let others: TrainingWork | null = null
  const asking = setInterval(async () => {
    const { digest, slug } = backbone.manifest
    others ??= await rogue.claim({ backbone: { slug, digest } })
  }, 100)
  await runJob(slow, work, { ...(await usual()), answers: unshown }).finally(() => clearInterval(asking))
  expect(others).toBeNull()
  expect(await shown(job)).toMatchObject({ status: 'succeeded', error: null })
})

async function claimAsRogue(job: string): Promise<TrainingWork> {
  const { digest, slug } = backbone.manifest
  for (;;) {
    const work = await rogue.claim({ backbone: { slug, digest } })
    if (work?.job === job) return work
    if (work !== null) await rogue.report(work, { type: 'released', why: 'stopping' })
  }
}

/** The last checkpoint of a job, under whichever fence it is. */
async function checkpointOf(id: string): Promise<Uint8Array<ArrayBuffer>> {
  for (let fence = 1; fence < 10; fence++) {
    const work = { tenant, job: JobId.parse(id), fence }
    const bytes = await rogue.read(work, 'checkpoint').catch(() => undefined)
    if (bytes !== undefined) return bytes
  }
  throw new Error(`${id} has no checkpoint`)
}
