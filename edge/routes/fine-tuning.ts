import type { Context } from 'hono'
import type { FileObject } from '../../shared/api/files.ts'
import {
  CreateJobRequest,
  Hyperparameters,
  Job,
  JobCheckpointList,
  JobEventList,
  JobEventQuery,
  JobId,
  JobList,
  JobListQuery,
} from '../../shared/api/fine-tuning.ts'
import { toPage } from '../../shared/api/paging.ts'
import { parseRequest } from '../../shared/api/parse.ts'
import { QuartetError } from '../../shared/errors.ts'
import type { BackboneSlug } from '../../shared/ids.ts'
import { unwrap } from '../directory/outcome.ts'
import { seqOf } from '../fine-tuning/event-table.ts'
import type { JobSpec } from '../fine-tuning/job-spec.ts'
import { isEndedJob, type JobRecord, jobOf } from '../fine-tuning/job-table.ts'
import { readJson } from '../http/json-body.ts'
import { readerOf } from '../http/reader.ts'
import { parseQuery, pathParameter } from '../http/request-parts.ts'
import type { ControlApp, TenantApp } from '../request-context.ts'
import type { BackboneRecord } from '../store/records.ts'
import { generationHeader } from '../tenants/generation-header.ts'
import { resolveModel } from '../tenants/resolve-model.ts'
import { estimateOfJob } from './training-estimates.ts'

type C = Context<TenantApp & ControlApp>

const jobsOf = (c: C) => c.get('platform').training(c.get('tenant'))
const shown = (c: C, job: JobRecord) => c.json(Job.parse(jobOf(job, c.get('tenant'))))

/** `POST /v1/fine_tuning/jobs`. */
export async function createJob(c: C): Promise<Response> {
  const request = parseRequest(CreateJobRequest, await readJson(c.req.raw))
  const spec = await specOf(c, request)
  const id = JobId.parse(`ftjob-${crypto.randomUUID().replaceAll('-', '').slice(0, 24)}`)
  c.get('auditTarget').job = id
  return shown(c, unwrap(await jobsOf(c).createJob(c.get('tenant'), { id, spec })))
}

/** Makes the job's spec. It decides everything that the request left open. */
async function specOf(c: C, request: CreateJobRequest): Promise<JobSpec> {
  const tenant = c.get('tenantRecord')
  const { adapters, record } = await resolveModel(request.model, {
    tenant,
    reader: readerOf(c),
    // A job goes on from what the alias serves, never from its canary.
    choose: (_, alias) => alias,
  })
  const [from, ...others] = adapters
  if (others.length > 0)
    throw new QuartetError(
      'invalid_request',
      `model: ${JSON.stringify(request.model)} stacks ${adapters.length} adapters; a job goes on from one of them`,
      { param: 'model' },
    )
  const { backbone } = record
  const hyperparameters =
    request.method?.supervised.hyperparameters ?? request.hyperparameters ?? Hyperparameters.parse({})
  await checkPlacement(c, {
    record,
    request,
    placement: hyperparameters.placement,
    isNew: from === undefined,
  })
  const training = {
    from: from?.digest ?? null,
    validationFile: request.validation_file ?? null,
    hyperparameters,
  }
  // A file that there is not is refused where the job is created.
  const file = await jobsOf(c).file(request.training_file)
  requireTrainable(file, backbone.slug)
  return {
    ...training,
    model: request.model,
    backbone: { slug: backbone.slug, digest: backbone.digest },
    trainingFile: request.training_file,
    suffix: request.suffix ?? null,
    seed: request.seed ?? (crypto.getRandomValues(new Uint32Array(1))[0] ?? 0) % 2_147_483_648,
    metadata: request.metadata ?? null,
    deployIfWorse: request.deploy_if_worse,
    estimate:
      file === undefined
        ? null
        : await estimateOfJob(training, { backbone, file, reader: readerOf(c), tenant: tenant.id }),
  }
}

/** Throws `invalid_request` for a place that the job's adapter cannot have. */
async function checkPlacement(
  c: C,
  {
    isNew,
    placement,
    record,
    request,
  }: {
    readonly isNew: boolean
    readonly placement: Hyperparameters['placement']
    readonly record: BackboneRecord
    readonly request: CreateJobRequest
  },
): Promise<void> {
  if (placement === 'auto') return
  const param = `${request.method === undefined ? '' : 'method.supervised.'}hyperparameters.placement`
  const refuse = (why: string): never => {
    throw new QuartetError('invalid_request', `${param}: ${why}`, { param })
  }
  if (!isNew)
    refuse(`${JSON.stringify(request.model)} is an adapter, whose rows have their place; leave it out`)
  if (placement === 'late' && (await generationHeader(record, c.get('platform'))) === 0)
    refuse(
      `the chat template of ${record.backbone.slug} has no generation header, so rows cannot be late; give auto, turn or after-first`,
    )
}

/** Throws `training_data_invalid` for a file that a trainer would refuse, as far as its upload has shown it. */
function requireTrainable(file: FileObject | undefined, backbone: BackboneSlug): void {
  const count = file?.token_counts?.find((each) => each.backbone === backbone)
  if (count === undefined) return
  const tooFew = count.is_exact && count.examples < 2
  const problem =
    count.problem ??
    (tooFew ? 'it has one example; at least 2 are needed, and some fifty before a model learns a task' : null)
  if (problem !== null)
    throw new QuartetError('training_data_invalid', `training_file: ${problem}`, { param: 'training_file' })
}

async function requireJob(c: C): Promise<JobRecord> {
  const id = pathParameter(c, 'job')
  const job = await jobsOf(c).job(id)
  if (job === undefined) throw new QuartetError('not_found', `this tenant has no fine-tuning job ${id}`)
  return job
}

/** `GET /v1/fine_tuning/jobs`, newest first. */
export async function listJobs(c: C): Promise<Response> {
  const { after, limit } = parseQuery(JobListQuery, c)
  const behind = after === undefined ? undefined : JobId.safeParse(after)
  if (behind?.success === false)
    throw new QuartetError('invalid_request', 'after: must be the id of a job', { param: 'after' })
  const jobs = await jobsOf(c).listJobs({ after: behind?.data, limit: limit + 1 })
  const page = toPage(
    jobs.map((job) => jobOf(job, c.get('tenant'))),
    { limit, id: ({ id }) => id },
  )
  return c.json(JobList.parse(page))
}

/** `GET /v1/fine_tuning/jobs/{job}`. */
export async function getJob(c: C): Promise<Response> {
  return shown(c, await requireJob(c))
}

/** `POST /v1/fine_tuning/jobs/{job}/cancel`. */
export async function cancelJob(c: C): Promise<Response> {
  return shown(c, unwrap(await jobsOf(c).cancel(pathParameter(c, 'job'))))
}

/** `POST /v1/fine_tuning/jobs/{job}/pause`: its trainer keeps a checkpoint and drops it. */
export async function pauseJob(c: C): Promise<Response> {
  return shown(c, unwrap(await jobsOf(c).pause(pathParameter(c, 'job'))))
}

/** `POST /v1/fine_tuning/jobs/{job}/resume`: from the last checkpoint on. */
export async function resumeJob(c: C): Promise<Response> {
  return shown(c, unwrap(await jobsOf(c).resume(pathParameter(c, 'job'))))
}

/** `GET /v1/fine_tuning/jobs/{job}/events`. */
export async function listEvents(c: C): Promise<Response> {
  const { after, limit, stream } = parseQuery(JobEventQuery, c)
  const { id } = await requireJob(c)
  const before = after === undefined ? undefined : seqOf(after)
  if (after !== undefined && before === undefined)
    throw new QuartetError('invalid_request', 'after: must be the id of an event', { param: 'after' })
  if (stream === 'true')
    return c.body(streamOf(eventLines(c, id)), 200, {
      'content-type': 'text/event-stream',
      'cache-control': 'no-cache',
    })
  const events = await jobsOf(c).newestEvents(id, { before, limit: limit + 1 })
  return c.json(JobEventList.parse(toPage(events, { limit, id: (event) => event.id })))
}

const pollMs = 1_000

/** A job's events as they come, from the first on, until it has ended or the client leaves. */
async function* eventLines(c: C, id: JobId): AsyncGenerator<string, void> {
  const jobs = jobsOf(c)
  let after = 0
  while (!c.req.raw.signal.aborted) {
    // The job is looked at first: events that stand by its end are then all read.
    const job = await jobs.job(id)
    const events = await jobs.eventsSince(id, { after, limit: 100 })
    for (const event of events) yield `data: ${JSON.stringify(event)}\n\n`
    after = seqOf(events.at(-1)?.id ?? '') ?? after
    if (events.length > 0) continue
    if (job === undefined || isEndedJob(job.status)) {
      yield 'data: [DONE]\n\n'
      return
    }
    await scheduler.wait(pollMs)
  }
}

function streamOf(lines: AsyncGenerator<string, void>): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder()
  return new ReadableStream({
    async pull(controller) {
      const { done, value } = await lines.next()
      if (done === true) controller.close()
      else controller.enqueue(encoder.encode(value))
    },
    async cancel() {
      await lines.return()
    },
  })
}

/** `GET /v1/fine_tuning/jobs/{job}/checkpoints`, latest first. */
export async function listCheckpoints(c: C): Promise<Response> {
  const { after, limit } = parseQuery(JobListQuery, c)
  const { id } = await requireJob(c)
  const checkpoints = (await jobsOf(c).checkpoints(id)).map(({ at, step, validLoss }) => ({
    id: `ftckpt-${id.slice('ftjob-'.length)}-${step}`,
    object: 'fine_tuning.job.checkpoint' as const,
    created_at: at,
    fine_tuning_job_id: id,
    step_number: step,
    metrics: { step, valid_loss: validLoss },
    fine_tuned_model_checkpoint: `${id}:step-${step}`,
  }))
  const from = after === undefined ? 0 : checkpoints.findIndex((each) => each.id === after) + 1
  return c.json(
    JobCheckpointList.parse(
      toPage(checkpoints.slice(from, from + limit + 1), { limit, id: (each) => each.id }),
    ),
  )
}
