import { DurableObject } from 'cloudflare:workers'
import { z } from 'zod'
import type { JobId } from '../../shared/api/fine-tuning.ts'
import type { BackboneDigest, TenantId } from '../../shared/ids.ts'
import { type TrainerId, trainerLeaseMs } from '../../shared/training/trainer-protocol.ts'
import { durableSql } from '../store/durable-sql.ts'
import {
  type JobLease,
  type QueuedWork,
  type TrainerSeen,
  type TrainingSpeed,
  WorkQueue,
} from './work-queue.ts'

/** The bindings of the worker that this object uses. */
interface QueueBindings {
  /** How long a trainer may be silent before another one has its job; 60 when absent. */
  readonly QUARTET_TRAINER_LEASE_SECONDS?: string
}

const LeaseSeconds = z.coerce.number().min(1).max(3_600)

/** One for all tenants: which jobs wait for a trainer, and who holds the lease of each. */
export class TrainingQueue extends DurableObject<QueueBindings> {
  readonly #queue: WorkQueue

  constructor(ctx: DurableObjectState, env: QueueBindings) {
    super(ctx, env)
    const seconds = LeaseSeconds.safeParse(env.QUARTET_TRAINER_LEASE_SECONDS)
    this.#queue = new WorkQueue(durableSql(ctx.storage), {
      leaseMs: seconds.success ? 1_000 * seconds.data : trainerLeaseMs,
    })
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

  async claim(
    trainer: TrainerId,
    backbone: BackboneDigest,
  ): Promise<(JobLease & { readonly leaseMs: number }) | undefined> {
    const lease = this.#queue.claim(trainer, backbone)
    return lease && { ...lease, leaseMs: this.#queue.leaseMs }
  }

  async renew(lease: JobLease, tokensPerSecond?: number): Promise<boolean> {
    return this.#queue.renew(lease, tokensPerSecond)
  }

  async speedOf(backbone: BackboneDigest): Promise<number | undefined> {
    return this.#queue.speedOf(backbone)
  }

  async end(lease: JobLease): Promise<void> {
    this.#queue.end(lease)
  }

  /** `waitMs`: as long as a lease lives when absent. */
  async defer(lease: JobLease, waitMs = this.#queue.leaseMs): Promise<void> {
    this.#queue.defer(lease, waitMs)
  }

  async release(lease: JobLease): Promise<void> {
    this.#queue.release(lease)
  }

  async overview(limit: number): Promise<{
    readonly work: readonly QueuedWork[]
    readonly trainers: readonly TrainerSeen[]
    readonly speeds: readonly TrainingSpeed[]
  }> {
    return {
      work: this.#queue.list(limit),
      trainers: this.#queue.trainers(),
      speeds: this.#queue.speeds(),
    }
  }
}
