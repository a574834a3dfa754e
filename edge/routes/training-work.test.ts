import { runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { AdapterList, AliasList } from '../../shared/api/deployments.ts'
import { FileObject } from '../../shared/api/files.ts'
import { Job, JobEventList } from '../../shared/api/fine-tuning.ts'
import { BudgetReport } from '../../shared/api/usage.ts'
import { sha256Hex } from '../../shared/digest.ts'
import { BackboneDigest, TenantId } from '../../shared/ids.ts'
import { nodeTokenKey } from '../../shared/node-token.ts'
import { ClaimResponse, TrainerId, type TrainingWork } from '../../shared/training/trainer-protocol.ts'
import { signTrainerToken } from '../../shared/training/trainer-token.ts'
import { makeAdapter } from '../../test/edge/adapter.ts'
import { TestEdge, type TestTenant, workerBackbone } from '../../test/edge/edge.ts'
import { tinyTokenizer } from '../../test/fakes/tiny-tokenizer.ts'

const edge = new TestEdge()
const secret = 'test-node-secret-of-at-least-32-bytes'
let tenant: TestTenant
let file: FileObject

beforeAll(() => edge.seedBackbone())
beforeEach(async () => {
  tenant = await edge.seedTenant()
  const form = new FormData()
  form.append('purpose', 'fine-tune')
  form.append('file', new Blob(['{"prompt":"a","completion":"b"}\n'.repeat(20)]), 'a.jsonl')
  const headers = { authorization: `Bearer ${tenant.key}` }
  file = FileObject.parse(
    await (await edge.fetch('/v1/files', { method: 'POST', headers, body: form })).json(),
  )
})

const encoded = (text: string) => Uint8Array.from(new TextEncoder().encode(text))

/** A signed call of a trainer. */
async function call(
  method: 'GET' | 'POST' | 'PUT',
  path: string,
  { body, fence }: { readonly body?: object | Uint8Array<ArrayBuffer>; readonly fence?: number } = {},
): Promise<Response> {
  const bytes = body === undefined || body instanceof Uint8Array ? body : encoded(JSON.stringify(body))
  const token = await signTrainerToken(nodeTokenKey(secret), {
    url: `http://edge${path}`,
    method,
    trainer: TrainerId.parse('trainer-1'),
    body: await sha256Hex(bytes ?? ''),
  })
  return edge.fetch(path, {
    method,
    headers: {
      authorization: `Bearer ${token}`,
      ...(fence === undefined ? {} : { 'x-quartet-fence': String(fence) }),
    },
    ...(bytes === undefined ? {} : { body: bytes }),
  })
}

async function create(more: object = {}): Promise<Job> {
  const body = { model: 'tiny', training_file: file.id, ...more }
  return Job.parse(await (await edge.own(tenant, 'POST', '/fine_tuning/jobs', body)).json())
}

const own = async (method: string, path: string) => edge.own(tenant, method, `/fine_tuning/jobs/${path}`)
const shown = async ({ id }: Pick<Job, 'id'>) => Job.parse(await (await own('GET', id)).json())
const messages = async ({ id }: Job) =>
  JobEventList.parse(await (await own('GET', `${id}/events`)).json()).data.map(({ message }) => message)

async function claim(): Promise<TrainingWork | null> {
  const { digest, slug } = workerBackbone
  const answer = await call('POST', '/fleet/v1/training/claim', { body: { backbone: { slug, digest } } })
  return ClaimResponse.parse(await answer.json()).work
}

/** Until this tenant's job is given out; jobs of other tests' tenants are passed over. */
async function claimOf(job: Job): Promise<TrainingWork> {
  for (let tries = 0; tries < 20; tries++) {
    const work = await claim()
    if (work?.job === job.id) return work
    if (work === null) break
  }
  throw new Error(`${job.id} was not given out`)
}

const of = ({ job, tenant: id }: TrainingWork, what: string) => `/fleet/v1/training/${id}/${job}/${what}`
const report = async (work: TrainingWork, body: object) =>
  call('POST', of(work, 'report'), { body, fence: work.fence })
const bring = (work: TrainingWork, adapter: Uint8Array<ArrayBuffer>) =>
  call('PUT', of(work, 'adapter'), { body: adapter, fence: work.fence })

const evaluation = { untuned_loss: 2, tuned_loss: 1, samples: [] }
const codeOf = async (response: Response) =>
  (await response.json<{ error: { code: string; message: string; param: string | null } }>()).error

const aliases = async () =>
  AliasList.parse(await (await edge.own(tenant, 'GET', '/aliases')).json()).data.map(({ alias }) => alias)
const adapters = async () =>
  AdapterList.parse(await (await edge.own(tenant, 'GET', '/adapters')).json()).data.map(
    ({ digest }) => digest,
  )

describe('a job whose trainer publishes its result', () => {
  test('is cancelled before, and then nothing of it is published; or not at all', async () => {
    const adapter = await makeAdapter({ backbone: workerBackbone, seed: 100 })
    const cancelled = await create()
    const early = await claimOf(cancelled)
    expect((await own('POST', `${cancelled.id}/cancel`)).status).toBe(200)
    expect(await codeOf(await bring(early, adapter.file))).toMatchObject({ code: 'conflict' })
    const succeeded = { type: 'succeeded', adapter: adapter.digest, trainedTokens: 9, evaluation }
    expect(await (await report(early, succeeded)).json()).toEqual({ order: 'stop' })
    expect(await aliases()).toEqual(['tone'])
    expect(await adapters()).toEqual([tenant.adapter.digest])

    const job = await create()
    const work = await claimOf(job)
    expect((await bring(work, adapter.file)).status).toBe(200)
    for (const action of ['cancel', 'pause']) {
      const refused = await own('POST', `${job.id}/${action}`)
      expect(await codeOf(refused)).toMatchObject({
        code: 'conflict',
        message: expect.stringMatching(/being published.*delete its alias/),
      })
    }
    expect(await (await report(work, succeeded)).json()).toEqual({ order: 'stop' })
    const done = await shown(job)
    expect(done).toMatchObject({ status: 'succeeded', adapter: adapter.digest })
    // The first answer may be lost: the same report changes nothing more.
    expect(await (await report(work, succeeded)).json()).toEqual({ order: 'stop' })
    expect(await aliases()).toEqual(expect.arrayContaining(['tone', done.fine_tuned_model]))
    expect((await shown(job)).trained_tokens).toBe(9)
  })

  test('is cancelled again when its trainer died while it published', async () => {
    const adapter = await makeAdapter({ backbone: workerBackbone, seed: 101 })
    const job = await create()
    await bring(await claimOf(job), adapter.file)
    await runInDurableObject(env.TRAINING.get(env.TRAINING.idFromName(tenant.id)), (_object, { storage }) => {
      storage.sql.exec('UPDATE jobs SET publishing_at = publishing_at - 61')
    })
    expect((await own('POST', `${job.id}/cancel`)).status).toBe(200)
  })

  test('takes no adapter but one of its backbone, and names in its report the one that it brought', async () => {
    const job = await create()
    const work = await claimOf(job)
    const other = await makeAdapter({
      backbone: { ...workerBackbone, digest: BackboneDigest.parse('cd'.repeat(32)) },
      seed: 1,
    })
    expect(await codeOf(await bring(work, other.file))).toMatchObject({ code: 'backbone_mismatch' })
    const junk = encoded('no adapter at all')
    expect(await codeOf(await bring(work, junk))).toMatchObject({ code: 'adapter_invalid' })
    // Another adapter of the tenant's is not this job's result.
    const report1 = { type: 'succeeded', adapter: tenant.adapter.digest, trainedTokens: 9, evaluation }
    expect(await codeOf(await report(work, report1))).toMatchObject({
      code: 'conflict',
      message: expect.stringMatching(/has published no adapter/),
    })
    expect(await aliases()).toEqual(['tone'])
    expect(await adapters()).toEqual([tenant.adapter.digest])
    expect((await shown(job)).status).toBe('running')
  })

  test('that nothing was measured of points no alias, says so, and does where the job asks for it', async () => {
    const adapter = await makeAdapter({ backbone: workerBackbone, seed: 102 })
    const unmeasured = { untuned_loss: null, tuned_loss: null, samples: [] }
    for (const deploy_if_worse of [false, true]) {
      const job = await create({ deploy_if_worse })
      const work = await claimOf(job)
      await bring(work, adapter.file)
      await report(work, {
        type: 'succeeded',
        adapter: adapter.digest,
        trainedTokens: 9,
        evaluation: unmeasured,
      })
      const done = await shown(job)
      expect(done.status).toBe('succeeded')
      expect(done.fine_tuned_model === null).toBe(!deploy_if_worse)
      const [warning] = (await messages(job)).filter((message) => message.includes('not compared'))
      expect(warning).toMatch(/no examples to measure on/)
      expect(warning?.includes('no alias points to it')).toBe(!deploy_if_worse)
    }
  })
})

test('a job whose alias cannot be pointed has succeeded without one, says why, and is given out no more', async () => {
  const adapter = await makeAdapter({ backbone: workerBackbone, seed: 104 })
  const job = await create()
  const work = await claimOf(job)
  await bring(work, adapter.file)
  expect((await edge.own(tenant, 'DELETE', `/adapters/${adapter.digest}`)).ok).toBe(true)
  const succeeded = { type: 'succeeded', adapter: adapter.digest, trainedTokens: 9, evaluation }
  expect(await (await report(work, succeeded)).json()).toEqual({ order: 'stop' })
  expect(await shown(job)).toMatchObject({
    status: 'succeeded',
    adapter: adapter.digest,
    fine_tuned_model: null,
  })
  expect(await messages(job)).toContainEqual(
    expect.stringMatching(/^No alias points to the adapter: this tenant has no adapter/),
  )
  await expect(claimOf(job)).rejects.toThrow(/not given out/)
})

test('a job that goes on from an adapter which was deleted meanwhile says so', async () => {
  const job = await create({ model: 'tone' })
  const work = await claimOf(job)
  expect((await call('GET', of(work, 'adapter'), { fence: work.fence })).status).toBe(200)
  await edge.own(tenant, 'DELETE', '/aliases/tone')
  await edge.own(tenant, 'DELETE', `/adapters/${tenant.adapter.digest}`)
  const refused = await codeOf(await call('GET', of(work, 'adapter'), { fence: work.fence }))
  expect(refused).toMatchObject({
    code: 'not_found',
    message: expect.stringMatching(
      /^the adapter [0-9a-f]{64}, which the job goes on from, was deleted; upload it/,
    ),
  })
})

describe('a job’s checkpoint', () => {
  const put = async (work: TrainingWork, step: number) =>
    call('PUT', of(work, `checkpoint?step=${step}`), { body: new Uint8Array(10), fence: work.fence })

  test('is kept where its trainer would begin anew and the job was paused meanwhile', async () => {
    const job = await create()
    const first = await claimOf(job)
    expect((await put(first, 5)).status).toBe(204)
    await report(first, { type: 'released', why: 'stopping' })
    const second = await claimOf(job)
    expect(second.checkpointStep).toBe(5)
    await own('POST', `${job.id}/pause`)
    expect(await (await report(second, { type: 'restarted', reason: 'damaged' })).json()).toEqual({
      order: 'pause',
    })
    await own('POST', `${job.id}/resume`)
    const third = await claimOf(job)
    const kept = await call('GET', of(third, 'checkpoint'), { fence: third.fence })
    expect([third.checkpointStep, kept.status, (await kept.arrayBuffer()).byteLength]).toEqual([5, 200, 10])
    expect(await (await report(third, { type: 'restarted', reason: 'damaged' })).json()).toEqual({
      order: 'continue',
    })
    expect((await env.FILES.list({ prefix: `${tenant.id}/checkpoints/` })).objects).toEqual([])
  })
})

test('a job’s progress and expected end stay while its trainer reads the files', async () => {
  const job = await create()
  const first = await claimOf(job)
  const expected = (await shown(job)).estimated_finish
  expect(expected).toBeGreaterThan(0)
  const progress = { type: 'progress', trainedTokens: 1, secondsLeft: null, metrics: [] }
  await report(first, { ...progress, step: 0 })
  expect((await shown(job)).estimated_finish).toBe(expected)
  await report(first, { type: 'planned', steps: 10, tokens: 1_000, examples: 18 })
  await report(first, { ...progress, step: 4, secondsLeft: 60 })
  const later = (await shown(job)).estimated_finish
  await report(first, { ...progress, step: 4 })
  expect(await shown(job)).toMatchObject({ progress: { step: 4, steps: 10 }, estimated_finish: later })
})

describe('a trainer with a lease that another one took', () => {
  test('brings no checkpoint and no adapter, reads nothing, and leaves nothing in the bucket', async () => {
    const adapter = await makeAdapter({ backbone: workerBackbone, seed: 103 })
    const job = await create()
    const stale = await claimOf(job)
    await report(stale, { type: 'released', why: 'stopping' })
    const work = await claimOf(job)
    expect(work.fence).toBeGreaterThan(stale.fence)
    const checkpoint = await call('PUT', of(stale, 'checkpoint?step=5'), {
      body: new Uint8Array(10),
      fence: stale.fence,
    })
    expect(checkpoint.status).toBe(409)
    expect((await bring(stale, adapter.file)).status).toBe(409)
    expect((await report(stale, { type: 'released', why: 'stopping' })).status).toBe(409)
    expect((await call('GET', of(stale, 'training-file'), { fence: stale.fence })).status).toBe(409)
    expect((await env.FILES.list({ prefix: `${tenant.id}/checkpoints/` })).objects).toEqual([])
    expect((await shown(job)).status).toBe('running')
  })

  test('has no right to another job by the lease of its own', async () => {
    const mine = await claimOf(await create())
    const other = await claimOf(await create())
    const path = of({ ...other, fence: mine.fence }, 'checkpoint?step=5')
    const answer = await call('PUT', path, { body: new Uint8Array(10), fence: mine.fence })
    expect(await codeOf(answer)).toMatchObject({ code: 'conflict' })
    const stranger = await edge.seedTenant()
    const foreign = path.replace(`/${tenant.id}/`, `/${stranger.id}/`)
    expect((await call('PUT', foreign, { body: new Uint8Array(10), fence: mine.fence })).status).toBe(404)
  })
})

describe('a job that waits', () => {
  test('for its next try, its trainer having failed, is given to nobody until then', async () => {
    const job = await create()
    const work = await claimOf(job)
    expect(await (await report(work, { type: 'released', why: 'failed' })).json()).toEqual({ order: 'stop' })
    expect((await shown(job)).status).toBe('queued')
    expect(await messages(job)).toContain('The trainer failed at the job; try 2 of 12 comes next')
    await expect(claimOf(job)).rejects.toThrow(/not given out/)
  })

  test('is not lost where the queue was not told of it', async () => {
    const job = await create()
    const queue = env.TRAINING_QUEUE.get(env.TRAINING_QUEUE.idFromName('queue'))
    await queue.remove(TenantId.parse(tenant.id), job.id)
    await expect(claimOf(job)).rejects.toThrow(/not given out/)
    await runDurableObjectAlarm(env.TRAINING.get(env.TRAINING.idFromName(tenant.id)))
    await claimOf(job)
  })

  test('is kept while its tenant is suspended, and one that is paused and resumed is not taken away by its old trainer', async () => {
    const job = await create()
    await edge.admin('PATCH', `/tenants/${tenant.id}`, { status: 'suspended' })
    await expect(claimOf(job)).rejects.toThrow(/not given out/)
    await edge.admin('PATCH', `/tenants/${tenant.id}`, { status: 'active' })
    const queue = env.TRAINING_QUEUE.get(env.TRAINING_QUEUE.idFromName('queue'))
    await runInDurableObject(queue, (_object, { storage }) => {
      storage.sql.exec('UPDATE work SET lease_until = 0')
    })
    const old = await claimOf(job)
    await own('POST', `${job.id}/pause`)
    await own('POST', `${job.id}/resume`)
    const progress = { type: 'progress', step: 1, trainedTokens: 1, secondsLeft: null, metrics: [] }
    expect(await (await report(old, progress)).json()).toEqual({ order: 'stop' })
    expect((await claimOf(job)).fence).toBeGreaterThan(old.fence)
  })
})

test('a job that the month’s training tokens do not suffice for alerts at 100 %', async () => {
  await edge.admin('PATCH', `/tenants/${tenant.id}`, { policy: { trainingTokensPerMonth: 1_000 } })
  const work = await claimOf(await create())
  const planned = { type: 'planned', steps: 10, tokens: 1_500, examples: 18 }
  expect(await (await report(work, planned)).json()).toEqual({ order: 'stop' })
  const { alerts } = BudgetReport.parse(await (await edge.own(tenant, 'GET', '/budget')).json())
  expect(alerts.map(({ budget, percent, spent }) => [budget, percent, spent])).toContainEqual([
    'trainingTokensPerMonth',
    100,
    0,
  ])
})

describe('the place of a new adapter’s rows', () => {
  const refused = async (body: object) => {
    const answer = await edge.own(tenant, 'POST', '/fine_tuning/jobs', { training_file: file.id, ...body })
    return { status: answer.status, ...(await codeOf(answer)) }
  }

  test('is told to the trainer, and the job says it', async () => {
    const job = await create({ hyperparameters: { placement: 'turn' } })
    expect(job.hyperparameters.placement).toBe('turn')
    expect((await claimOf(job)).hyperparameters).toMatchObject({ placement: 'turn', n_epochs: 'auto' })
    expect((await create()).hyperparameters.placement).toBe('auto')
  })

  test('is one of those that there are', async () => {
    expect(await refused({ model: 'tiny', hyperparameters: { placement: 'early' } })).toMatchObject({
      status: 400,
      param: 'hyperparameters.placement',
      message: 'hyperparameters.placement: must be auto, late, turn or after-first',
    })
  })

  test('is that of the adapter that a job goes on from', async () => {
    const method = { type: 'supervised', supervised: { hyperparameters: { placement: 'late' } } }
    expect(await refused({ model: 'tone', method })).toMatchObject({
      status: 400,
      param: 'method.supervised.hyperparameters.placement',
      message: expect.stringContaining('"tone" is an adapter, whose rows have their place; leave it out'),
    })
  })

  test('is not in front of a generation header that there is not', async () => {
    const plain = { ...workerBackbone, slug: 'plain', chat: { ...workerBackbone.chat, template: '' } }
    await edge.admin('PUT', '/backbones/plain', { backbone: plain, tokenizer: tinyTokenizer })
    expect(await refused({ model: 'plain', hyperparameters: { placement: 'late' } })).toMatchObject({
      status: 400,
      param: 'hyperparameters.placement',
      message: expect.stringContaining('no generation header, so rows cannot be late; give auto, turn'),
    })
  })
})
