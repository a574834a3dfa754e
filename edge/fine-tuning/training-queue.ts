import { DurableObject } from 'cloudflare:workers'
import type { JobId } from '../../shared/api/fine-tuning.ts'
import type { BackboneDigest, TenantId } from '../../shared/ids.ts'
import type { TrainerId } from '../../shared/training/trainer-protocol.ts'
import { durableSql } from '../store/durable-sql.ts'
import { type Lease, type QueuedWork, type TrainerSeen, WorkQueue } from './work-queue.ts'

/** One for all tenants: which jobs wait for a trainer, and who holds the lease of each. */
export class TrainingQueue extends DurableObject {
  readonly #queue: WorkQueue

  constructor(ctx: DurableObjectState, env: Cloudflare.Env) {
    super(ctx, env)
    this.#queue = new WorkQueue(durableSql(ctx.storage))
  }

  async add(work: {
    readonly tenant: TenantId
    readonly job: JobId
    readonly backbone: BackboneDigest
  }): Promise<void> {
    this.#queue.add(work)
  }

  async remove(tenant: TenantId, job: JobId): Promise<void> {
    this.#queue.remove(tenant, job)
  }

  async claim(trainer: TrainerId, backbone: BackboneDigest): Promise<Lease | undefined> {
    return this.#queue.claim(trainer, backbone)
  }

  async renew(lease: Lease): Promise<boolean> {
    return this.#queue.renew(lease)
  }

  async release(lease: Lease): Promise<void> {
    this.#queue.release(lease)
  }

  async overview(limit: number): Promise<{
    readonly work: readonly QueuedWork[]
    readonly trainers: readonly TrainerSeen[]
  }> {
    return { work: this.#queue.list(limit), trainers: this.#queue.trainers() }
  }
}
