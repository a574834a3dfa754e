import type { Context } from 'hono'
import { z } from 'zod'
import { parseRequest } from '../../shared/api/parse.ts'
import { sha256Hex } from '../../shared/digest.ts'
import { QuartetError } from '../../shared/errors.ts'
import { AdapterDigest, AliasName } from '../../shared/ids.ts'
import {
  ClaimRequest,
  type ClaimResponse,
  type TrainerId,
  type TrainerOrder,
  TrainerReport,
} from '../../shared/training/trainer-protocol.ts'
import { verifyTrainerToken } from '../../shared/training/trainer-token.ts'
import { parseUniqueNames } from '../../shared/unique-names.ts'
import { bearerToken } from '../auth/bearer.ts'
import { dayOf, monthOf } from '../budgets/calendar.ts'
import { unwrap } from '../directory/outcome.ts'
import type { ReportAnswer } from '../fine-tuning/job-book.ts'
import type { JobRecord } from '../fine-tuning/job-table.ts'
import { verdictOf } from '../fine-tuning/verdict.ts'
import type { JobLease } from '../fine-tuning/work-queue.ts'
import { parseJson, readBytes } from '../http/json-body.ts'
import { backgroundOf } from '../http/reader.ts'
import { parseQuery, pathParameter } from '../http/request-parts.ts'
import type { App } from '../request-context.ts'
import { checkpointKey, fileKey } from '../store/bucket-keys.ts'
import type { TenantRecord } from '../store/records.ts'
import { publishAdapter } from '../uploads/publish-adapter.ts'
import { UploadProgress } from '../uploads/upload-memory.ts'

type C = Context<App>

const maxReportBytes = 1024 * 1024
/** A checkpoint holds an adapter four times over, in f32. */
const maxCheckpointBytes = 512 * 1024 * 1024

/** Who calls. Throws `invalid_node_token`. */
async function callerOf(c: C): Promise<{ readonly trainer: TrainerId; readonly body: string }> {
  const token = bearerToken(c.req.header('authorization'))
  if (token === undefined)
    throw new QuartetError('invalid_node_token', 'the call carries no token (authorization: Bearer …)')
  return verifyTrainerToken(c.get('platform').nodeKey, { token, method: c.req.method, url: c.req.url })
}

/** A JSON body that the caller's token is for. */
async function readSigned(c: C): Promise<{ readonly trainer: TrainerId; readonly json: unknown }> {
  const { body, trainer } = await callerOf(c)
  const bytes = await readBytes(c.req.raw, maxReportBytes)
  if ((await sha256Hex(bytes)) !== body)
    throw new QuartetError('invalid_node_token', "the trainer's token is for another body")
  return { trainer, json: parseJson(bytes, parseUniqueNames) }
}

/** The lease that the path and `x-quartet-fence` name. */
function leaseOf(c: C): JobLease {
  const fence = c.req.header('x-quartet-fence') ?? ''
  if (!/^[0-9]{1,15}$/.test(fence))
    throw new QuartetError('invalid_request', 'x-quartet-fence: must be the fence of the lease')
  return { tenant: pathParameter(c, 'id'), job: pathParameter(c, 'job'), fence: Number(fence) }
}

/** The job of a lease that still holds. Throws `conflict` for one that another trainer has. */
async function heldJob(c: C, lease: JobLease): Promise<JobRecord> {
  return unwrap(await c.get('platform').training(lease.tenant).holds(lease))
}

/** `POST /fleet/v1/training/claim`: the next job for the trainer's backbone. */
export async function claimWork(c: C): Promise<Response> {
  const { json, trainer } = await readSigned(c)
  const { backbone } = parseRequest(ClaimRequest, json)
  const { directory, training, trainingQueue } = c.get('platform')
  const none: ClaimResponse = { work: null }
  for (;;) {
    const lease = await trainingQueue().claim(trainer, backbone.digest)
    if (lease === undefined) return c.json(none)
    const { tenant } = lease
    // The directory's word, not this isolate's memory: nothing keeps that up to date for trainers.
    const tenantRecord = await directory(tenant).record()
    if (tenantRecord?.status === 'suspended') {
      await trainingQueue().defer(lease)
      continue
    }
    const begun = tenantRecord && (await training(tenant).begin(lease))
    if (begun === undefined) {
      await trainingQueue().end(lease)
      continue
    }
    if (begun.type === 'wait') {
      await trainingQueue().defer(lease, begun.waitMs)
      continue
    }
    const { checkpoint, job } = begun
    return c.json({
      work: {
        ...lease,
        from: job.spec.from,
        hasValidationFile: job.spec.validationFile !== null,
        checkpointStep: checkpoint?.step ?? null,
        seed: job.spec.seed,
        hyperparameters: job.spec.hyperparameters,
      },
    } satisfies ClaimResponse)
  }
}

/** `POST /fleet/v1/training/{id}/{job}/report`. */
export async function reportWork(c: C): Promise<Response> {
  const { json } = await readSigned(c)
  const lease = leaseOf(c)
  const report = parseRequest(TrainerReport, json)
  const { directory, training, trainingQueue } = c.get('platform')
  const tenant = await directory(lease.tenant).record()
  if (tenant === undefined) throw new QuartetError('not_found', 'the tenant is gone')
  const useless = report.type === 'restarted' ? await checkpointKeys(c, lease) : []
  const { isOverBudget, order, waitMs }: ReportAnswer =
    report.type === 'succeeded'
      ? await succeed(c, lease, report)
      : unwrap(await training(lease.tenant).report(lease, report, tenant.policy.trainingTokensPerMonth))
  // Their records went with the report. A job that is paused meanwhile keeps both.
  if (order === 'continue' && useless.length > 0) await c.get('platform').files.delete(useless)
  if (waitMs !== undefined) await trainingQueue().defer(lease, waitMs)
  else if (report.type === 'released') await trainingQueue().release(lease)
  else if (order === 'continue')
    await trainingQueue().renew(lease, report.type === 'progress' ? report.tokensPerSecond : undefined)
  else await trainingQueue().end(lease)
  if (order === 'stop') await noteTrained(c, tenant, { isRefusing: isOverBudget === true })
  return c.json({ order } satisfies TrainerOrder)
}

/** Tells the tenant's alerts how far its training budget is spent. `isRefusing`: the rest did not suffice for a job. */
async function noteTrained(
  c: C,
  { id, policy }: TenantRecord,
  { isRefusing }: { readonly isRefusing: boolean },
): Promise<void> {
  const limit = policy.trainingTokensPerMonth
  if (limit === null) return
  const { budget, training } = c.get('platform')
  const period = monthOf(dayOf(Date.now()))
  const spent = await training(id).trained(period)
  await budget(id).noteLevel({ budget: 'trainingTokensPerMonth', period, limit, spent, isRefusing })
}

/** Points the alias of a job whose adapter is published, unless it is not known to be better than the untuned model. */
async function succeed(
  c: C,
  lease: JobLease,
  report: Extract<TrainerReport, { type: 'succeeded' }>,
): Promise<TrainerOrder> {
  const { directory, feed, training } = c.get('platform')
  const job = await heldJob(c, lease)
  // The report may come again, its first answer lost; or too late, when the job is over.
  if (job.status !== 'running') return { order: job.status === 'paused' ? 'pause' : 'stop' }
  const { published, spec } = unwrap(await training(lease.tenant).publish(lease, undefined))
  if (published !== report.adapter)
    throw new QuartetError(
      'conflict',
      `the job's trainer has published ${published ?? 'no adapter'}, not ${report.adapter}; bring the adapter first`,
      { param: 'adapter' },
    )
  let alias: AliasName | null = null
  let unaliased: string | undefined
  if (verdictOf(report.evaluation) === 'better' || spec.deployIfWorse) {
    const name = AliasName.parse(
      [
        'ft',
        spec.backbone.slug.slice(0, 30),
        ...(spec.suffix === null ? [] : [spec.suffix]),
        lease.job.slice(-8),
      ].join(':'),
    )
    const moved = await directory(lease.tenant).move({
      alias: name,
      aim: { action: 'deploy', digest: report.adapter },
      by: lease.job,
      ifVersion: undefined,
    })
    // The model is trained: too many aliases, say, are no reason to train it again.
    if (moved.ok) alias = name
    else unaliased = moved.message
    // The next request in this isolate must see the change.
    feed.expire()
  }
  const success = { ...report, ...(unaliased === undefined ? {} : { unaliased }) }
  return unwrap(await training(lease.tenant).succeed(lease, success, alias))
}

/** `GET /fleet/v1/training/{id}/{job}/training-file`, `…/validation-file`. */
export const workFile =
  (which: 'trainingFile' | 'validationFile') =>
  async (c: C): Promise<Response> => {
    await callerOf(c)
    const lease = leaseOf(c)
    const { spec } = await heldJob(c, lease)
    const file = spec[which]
    const stored = file === null ? undefined : await c.get('platform').files.read(fileKey(lease.tenant, file))
    if (stored === undefined) throw new QuartetError('not_found', 'the job has no such file')
    return c.body(stored, 200, { 'content-type': 'application/jsonl' })
  }

/** `GET /fleet/v1/training/{id}/{job}/adapter`: the adapter to go on from. */
export async function workAdapter(c: C): Promise<Response> {
  await callerOf(c)
  const lease = leaseOf(c)
  const { spec } = await heldJob(c, lease)
  const { from } = spec
  if (from === null) throw new QuartetError('not_found', 'the job goes on from no adapter')
  const stored = await c.get('platform').store.adapter({ tenant: lease.tenant, digest: from })
  if (stored === undefined)
    throw new QuartetError(
      'not_found',
      `the adapter ${from}, which the job goes on from, was deleted; upload it again, or create a job that goes on from another`,
    )
  return c.body(stored, 200, { 'content-type': 'application/octet-stream' })
}

const CheckpointQuery = z.strictObject({
  step: z
    .string()
    .regex(/^[0-9]{1,9}$/)
    .transform(Number),
  valid_loss: z.string().transform(Number).pipe(z.number()).optional(),
})

/** Where the job's checkpoints lie. */
async function checkpointKeys(c: C, { job, tenant }: JobLease): Promise<string[]> {
  const checkpoints = await c.get('platform').training(tenant).checkpoints(job)
  return checkpoints.map((each) => checkpointKey(tenant, job, each))
}

/** `PUT /fleet/v1/training/{id}/{job}/checkpoint`. The one before it goes. */
export async function putCheckpoint(c: C): Promise<Response> {
  const { body: sha256 } = await callerOf(c)
  const lease = leaseOf(c)
  const { job, tenant } = lease
  const { step, valid_loss: validLoss = null } = parseQuery(CheckpointQuery, c)
  const { files, training } = c.get('platform')
  await heldJob(c, lease)
  const bytes = Number(c.req.header('content-length') ?? Number.NaN)
  if (!(bytes > 0 && bytes <= maxCheckpointBytes) || c.req.raw.body === null)
    throw new QuartetError(
      'body_too_large',
      `a checkpoint has 1 to ${maxCheckpointBytes} bytes and a Content-Length`,
    )
  const records = training(tenant)
  const before = await records.checkpoints(job)
  const key = checkpointKey(tenant, job, { ...lease, step })
  await files.write(key, c.req.raw.body, sha256)
  const added = await records.addCheckpoint(lease, { step, validLoss, fence: lease.fence })
  // Another trainer got the job meanwhile and will not read it.
  if (!added.ok) await files.delete([key])
  unwrap(added)
  const old = before.filter((each) => each.step !== step || each.fence !== lease.fence)
  await files.delete(old.map((each) => checkpointKey(tenant, job, each)))
  return c.body(null, 204)
}

/** `GET /fleet/v1/training/{id}/{job}/checkpoint`: the last one. */
export async function getCheckpoint(c: C): Promise<Response> {
  await callerOf(c)
  const lease = leaseOf(c)
  await heldJob(c, lease)
  const { files, training } = c.get('platform')
  const [last] = await training(lease.tenant).checkpoints(lease.job)
  const stored =
    last === undefined ? undefined : await files.read(checkpointKey(lease.tenant, lease.job, last))
  if (stored === undefined) throw new QuartetError('not_found', 'the job has no checkpoint')
  return c.body(stored, 200, { 'content-type': 'application/octet-stream' })
}

/** `PUT /fleet/v1/training/{id}/{job}/adapter`: the trained adapter becomes one of the tenant's. */
export async function putTrainedAdapter(c: C): Promise<Response> {
  const { body: sha256 } = await callerOf(c)
  const lease = leaseOf(c)
  const { training } = c.get('platform')
  const bytes = Number(c.req.header('content-length') ?? Number.NaN)
  if (!(bytes > 0) || c.req.raw.body === null)
    throw new QuartetError('length_required', 'the adapter must come with a Content-Length')
  const { spec } = unwrap(await training(lease.tenant).publish(lease, undefined))
  const adapter = await publishAdapter(
    { bytes, body: c.req.raw.body, progress: new UploadProgress(bytes) },
    {
      tenant: lease.tenant,
      reader: { platform: c.get('platform'), background: backgroundOf(c) },
      expected: AdapterDigest.parse(sha256),
      backbone: spec.backbone,
    },
  )
  unwrap(await training(lease.tenant).publish(lease, adapter.digest))
  return c.json(adapter)
}
