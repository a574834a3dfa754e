import { DurableObject } from 'cloudflare:workers'
import type { FileId, FileObject, StoredPurpose } from '../../shared/api/files.ts'
import type { JobEvent, JobId } from '../../shared/api/fine-tuning.ts'
import type { TenantId } from '../../shared/ids.ts'
import type { TrainerOrder, TrainerReport } from '../../shared/training/trainer-protocol.ts'
import { type Outcome, ok, refuse } from '../directory/outcome.ts'
import type { StoreBindings } from '../store/bindings.ts'
import { durableSql } from '../store/durable-sql.ts'
import { FileBucket } from '../store/file-bucket.ts'
import type { Checkpoint } from './checkpoint-table.ts'
import { JobBook, type TrainerHold } from './job-book.ts'
import type { JobSpec } from './job-spec.ts'
import type { JobRecord } from './job-table.ts'

/** R2 deletes as many objects with one call. */
const removedAtOnce = 1_000
const removeAgainMs = 60_000

/** One per tenant: the only owner of its files' records and its fine-tuning jobs. */
export class TenantTraining extends DurableObject<Pick<StoreBindings, 'FILES'>> {
  readonly #book: JobBook
  readonly #files: FileBucket

  constructor(ctx: DurableObjectState, env: Pick<StoreBindings, 'FILES'>) {
    super(ctx, env)
    this.#book = new JobBook(durableSql(ctx.storage))
    this.#files = new FileBucket(env.FILES)
  }

  /** Called by the tenant's directory. `began`: when the tenant was created; null where it was deleted. */
  async setTenancy(tenant: TenantId, began: number | null): Promise<void> {
    this.#book.tenancy.set(tenant, began)
    if (this.#book.tenancy.removals(1).length > 0) await this.ctx.storage.setAlarm(Date.now())
  }

  /** Removes the bytes of a deleted tenant. */
  override async alarm(): Promise<void> {
    await this.ctx.storage.setAlarm(Date.now() + removeAgainMs)
    for (;;) {
      const keys = this.#book.tenancy.removals(removedAtOnce)
      if (keys.length === 0) break
      await this.#files.delete(keys)
      this.#book.tenancy.removed(keys)
    }
    await this.ctx.storage.deleteAlarm()
  }

  /**
   * Takes room for a file before its bytes are written, and says how many it may have. `wanted` is null where the client
   * does not say; `limit`: bytes of all files together, null is without limit.
   */
  async beginFile(id: FileId, wanted: number | null, limit: number | null): Promise<Outcome<number>> {
    const room = this.#book.files.reserve(id, { wanted, limit })
    return room === undefined
      ? refuse(
          'file_storage_exceeded',
          `the tenant's files may have ${limit} bytes together, which leaves too few for this one; delete some, or ask the operator for more`,
        )
      : ok(room)
  }

  async completeFile(file: FileObject): Promise<void> {
    this.#book.files.add(file)
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

  async createJob(id: JobId, spec: JobSpec): Promise<Outcome<JobRecord>> {
    return this.#book.create(id, spec)
  }

  async job(id: JobId): Promise<JobRecord | undefined> {
    return this.#book.jobs.find(id)
  }

  async listJobs(page: { readonly after: JobId | undefined; readonly limit: number }): Promise<JobRecord[]> {
    return this.#book.jobs.list(page)
  }

  async cancel(id: JobId): Promise<Outcome<JobRecord>> {
    return this.#book.cancel(id)
  }

  async pause(id: JobId): Promise<Outcome<JobRecord>> {
    return this.#book.pause(id)
  }

  async resume(id: JobId): Promise<Outcome<JobRecord>> {
    return this.#book.resume(id)
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

  async begin(
    hold: TrainerHold,
  ): Promise<{ readonly job: JobRecord; readonly checkpoint: Checkpoint | undefined } | undefined> {
    return this.#book.begin(hold)
  }

  async holds(hold: TrainerHold): Promise<Outcome<JobRecord>> {
    return this.#book.holds(hold)
  }

  async report(
    hold: TrainerHold,
    report: TrainerReport,
    limit: number | null,
  ): Promise<Outcome<TrainerOrder>> {
    return this.#book.report(hold, report, limit)
  }

  async succeed(
    hold: TrainerHold,
    report: Extract<TrainerReport, { type: 'succeeded' }>,
    alias: string | null,
  ): Promise<Outcome<TrainerOrder>> {
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
