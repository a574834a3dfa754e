import type { Context } from 'hono'
import type { BackboneDigest } from '../../shared/ids.ts'
import { maxQueuedJobs, type TrainingOverview } from '../../shared/training/training-overview.ts'
import { readerOf } from '../http/reader.ts'
import type { App } from '../request-context.ts'
import { listBackbones } from '../tenants/read.ts'

/** `GET /admin/v1/training`. */
export async function getTraining(c: Context<App>): Promise<Response> {
  const { training, trainingQueue } = c.get('platform')
  const [overview, records] = await Promise.all([
    trainingQueue().overview(maxQueuedJobs),
    listBackbones(readerOf(c)),
  ])
  const named = (digest: BackboneDigest) => ({
    digest,
    slug: records.find(({ backbone }) => backbone.digest === digest)?.backbone.slug ?? null,
  })
  const now = Date.now()
  const queue = overview.work.map(async ({ backbone, job, queuedAt, tenant, trainer }) => ({
    tenant,
    job,
    trainer,
    backbone: named(backbone),
    waitedMs: Math.max(0, now - queuedAt),
    progress: trainer === null ? null : ((await training(tenant).job(job))?.progress ?? null),
  }))
  return c.json({
    trainers: overview.trainers.map(({ backbone, id, seenAt }) => ({
      id,
      backbone: named(backbone),
      ageMs: Math.max(0, now - seenAt),
    })),
    queue: await Promise.all(queue),
    speeds: overview.speeds.map(({ backbone, tokensPerSecond }) => ({
      backbone: named(backbone),
      tokensPerSecond,
    })),
  } satisfies TrainingOverview)
}
