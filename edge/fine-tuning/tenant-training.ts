import { DurableObject } from 'cloudflare:workers'
import type { FileId, FileObject, StoredPurpose } from '../../shared/api/files.ts'
import type { JobEvent, JobId } from '../../shared/api/fine-tuning.ts'
import type { AdapterDigest, TenantId } from '../../shared/ids.ts'
import type { TrainerOrder, TrainerReport } from '../../shared/training/trainer-protocol.ts'
import { type Outcome, ok, refuse } from '../directory/outcome.ts'
import type { StoreBindings } from '../store/bindings.ts'
import { durableSql } from '../store/durable-sql.ts'
import { FileBucket } from '../store/file-bucket.ts'
import type { Checkpoint } from './checkpoint-table.ts'
import { type Begun, JobBook, type ReportAnswer, type Success, type TrainerHold } from './job-book.ts'
import type { JobSpec } from './job-spec.ts'
import type { JobRecord } from './job-table.ts'
import type { TrainingQueue } from './training-queue.ts'

/** R2 deletes as many objects with one call. */
const removedAtOnce = 1_000
const removeAgainMs = 60_000
/** Queued jobs are told to the queue again: a call that was lost loses no job. */
const queueAgainMs = 60_000

/** The bindings of the worker that this object uses. */
interface TrainingBindings extends Pick<StoreBindings, 'FILES'> {
  readonly TRAINING_QUEUE: DurableObjectNamespace<TrainingQueue>
}

const gone = () => refuse('not_found', 'the tenant of this file was deleted')

/** One per tenant: the only owner of its files' records and its fine-tuning jobs. */
export class TenantTraining extends DurableObject<TrainingBindings> {
  readonly #book: JobBook
  readonly #files: FileBucket

  constructor(ctx: DurableObjectState, env: TrainingBindings) {
    super(ctx, env)
    this.#book = new JobBook(durableSql(ctx.storage))
    this.#files = new FileBucket(env.FILES)
  }

  /** Called by the tenant's directory. `began`: when the tenant was created; null where it was deleted. */
  async setTenancy(tenant: TenantId, began: number | null): Promise<void> {
    this.#book.tenancy.set(tenant, began)
    if (this.#book.tenancy.removals(1).length > 0) await this.ctx.storage.setAlarm(Date.now())
  }

  /** Removes the bytes of a deleted tenant, and tells the queue of jobs that wait. */
  override async alarm(): Promise<void> {
    await this.ctx.storage.setAlarm(Date.now() + removeAgainMs)
    await this.#queueWaiting()
    for (;;) {
      const keys = this.#book.tenancy.removals(removedAtOnce)
      if (keys.length === 0) break
      await this.#files.delete(keys)
      this.#book.tenancy.removed(keys)
    }
    if (this.#book.jobs.queued().length === 0) await this.ctx.storage.deleteAlarm()
  }

  /** The queue has each job that waits for a trainer: now, or when the alarm comes. */
  async #queueWaiting(): Promise<void> {
    const { tenant } = this.#book.tenancy
    const waiting = this.#book.jobs.queued()
    if (tenant === undefined || waiting.length === 0) return
    await this.ctx.storage.setAlarm(Date.now() + queueAgainMs)
    for (const { id: job, spec } of waiting)
      await this.#queue.add({ tenant, job, backbone: spec.backbone.digest })
  }

  /** The queue may know of it a little later: a trainer that claims the job meanwhile is told that there is nothing to do. */
  async #moved(outcome: Outcome<JobRecord>): Promise<Outcome<JobRecord>> {
    if (!outcome.ok) return outcome
    const { id, status } = outcome.value
    const { tenant } = this.#book.tenancy
    const told =
      status === 'queued' || tenant === undefined ? this.#queueWaiting() : this.#queue.remove(tenant, id)
    await told.catch((thrown: unknown) =>
      console.error(JSON.stringify({ message: 'the queue of jobs was not told', cause: String(thrown) })),
    )
    return outcome
  }

  get #queue(): DurableObjectStub<TrainingQueue> {
    const { TRAINING_QUEUE: queue } = this.env
    return queue.get(queue.idFromName('queue'))
  }

  /**
   * Takes room for a file before its bytes are written, and says how many it may have. `wanted` is null where the client
   * does not say; `limit`: bytes of all files together, null is without limit; `tenancy`: when the tenant was created.
   */
  async beginFile(
    id: FileId,
    {
      limit,
      tenancy,
      wanted,
    }: { readonly wanted: number | null; readonly limit: number | null; readonly tenancy: number },
  ): Promise<Outcome<number>> {
    if (!this.#book.tenancy.isRunning(tenancy)) return gone()
    const room = this.#book.files.reserve(id, { wanted, limit })
    return room === undefined
      ? refuse(
          'file_storage_exceeded',
          `the tenant's files may have ${limit} bytes together, which leaves too few for this one; delete some, or ask the operator for more`,
        )
      : ok(room)
  }

  /**
   * The bytes are all in the bucket. Refuses with `not_found` where the tenant that was created at `tenancy` was deleted
   * meanwhile; null is one whose creation is not known.
   */
  async completeFile(file: FileObject, tenancy: number | null): Promise<Outcome<null>> {
    if (!this.#book.tenancy.isRunning(tenancy)) return gone()
    this.#book.files.add(file)
    return ok(null)
  }

  async abandonFile(id: FileId): Promise<void> {
    this.#book.files.release(id)
  }

  async file(id: FileId): Promise<FileObject | undefined> {
    return this.#book.files.find(id)
  }

  async listFiles(page: {
    readonly after: FileId | undefined
    readonly limit: number
    readonly purposes: readonly StoredPurpose[]
  }): Promise<FileObject[]> {
    return this.#book.files.list(page)
  }

  async removeFile(id: FileId): Promise<Outcome<FileObject>> {
    return this.#book.removeFile(id)
  }

  async createJob(
    tenant: TenantId,
    { id, spec }: { readonly id: JobId; readonly spec: JobSpec },
  ): Promise<Outcome<JobRecord>> {
    this.#book.tenancy.tenant = tenant
    return this.#moved(this.#book.create(id, spec))
  }

  async job(id: JobId): Promise<JobRecord | undefined> {
    return this.#book.jobs.find(id)
  }

  async listJobs(page: { readonly after: JobId | undefined; readonly limit: number }): Promise<JobRecord[]> {
    return this.#book.jobs.list(page)
  }

  async cancel(id: JobId): Promise<Outcome<JobRecord>> {
    return this.#moved(this.#book.cancel(id))
  }

  async pause(id: JobId): Promise<Outcome<JobRecord>> {
    return this.#moved(this.#book.pause(id))
  }

  async resume(id: JobId): Promise<Outcome<JobRecord>> {
    return this.#moved(this.#book.resume(id))
  }

  async newestEvents(
    id: JobId,
    page: { readonly before: number | undefined; readonly limit: number },
  ): Promise<JobEvent[]> {
    return this.#book.events.newest(id, page)
  }

  async eventsSince(
    id: JobId,
    page: { readonly after: number; readonly limit: number },
  ): Promise<JobEvent[]> {
    return this.#book.events.since(id, page)
  }

  async checkpoints(id: JobId): Promise<readonly Checkpoint[]> {
    return this.#book.checkpoints.list(id)
  }

  async begin(hold: TrainerHold): Promise<Begun | undefined> {
    return this.#book.begin(hold)
  }

  async holds(hold: TrainerHold): Promise<Outcome<JobRecord>> {
    return this.#book.holds(hold)
  }

  async report(
    hold: TrainerHold,
    report: TrainerReport,
    limit: number | null,
  ): Promise<Outcome<ReportAnswer>> {
    return this.#book.report(hold, report, limit)
  }

  async publish(hold: TrainerHold, adapter: AdapterDigest | undefined): Promise<Outcome<JobRecord>> {
    return this.#book.publish(hold, adapter)
  }

  async succeed(hold: TrainerHold, report: Success, alias: string | null): Promise<Outcome<TrainerOrder>> {
    return this.#book.succeed(hold, report, alias)
  }

  async addCheckpoint(hold: TrainerHold, checkpoint: Omit<Checkpoint, 'at'>): Promise<Outcome<null>> {
    return this.#book.addCheckpoint(hold, checkpoint)
  }

  /** Tokens trained in a UTC month. */
  async trained(month: string): Promise<number> {
    return this.#book.trained.inMonth(month)
  }
}
