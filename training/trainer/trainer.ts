import { setTimeout as delay } from 'node:timers/promises'
import type { EdgeClient } from './edge-client.ts'
import { runJob, type Workshop } from './run-job.ts'

/** How long a trainer waits before it asks again when there is no work. */
const idleMs = 2_000
const unreachableMs = 5_000

/** Asks the edge for work and trains it, one job after the other, until `signal` is aborted. */
export async function runTrainer(
  client: EdgeClient,
  { signal, ...workshop }: Workshop & { readonly signal: AbortSignal },
): Promise<void> {
  const { digest, slug } = workshop.backbone.manifest
  const { log } = workshop
  const wait = (ms: number) => delay(ms, undefined, { signal }).catch(() => undefined)
  while (!signal.aborted) {
    const work = await client.claim({ backbone: { slug, digest } }, signal).catch((thrown: unknown) => {
      if (!signal.aborted) log('claim_failed', { reason: String(thrown) })
      return undefined
    })
    if (work === undefined) await wait(unreachableMs)
    else if (work === null) await wait(idleMs)
    else {
      log('job_claimed', { job: work.job, fence: work.fence, checkpoint: work.checkpointStep })
      await runJob(client, work, { ...workshop, signal }).catch((thrown: unknown) =>
        log('job_left', { job: work.job, reason: String(thrown) }),
      )
    }
  }
}
