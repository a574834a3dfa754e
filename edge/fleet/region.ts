import { z } from 'zod'
import { QuartetError } from '../../shared/errors.ts'
import { Heartbeat } from '../../shared/heartbeat.ts'

const Located = z.object({ cf: z.object({ continent: z.string() }) })

/**
 * The region that requests of a worker come from: `QUARTET_REGION`, else the continent that Cloudflare sees (`eu`,
 * `na`, `as`, …), else unknown (empty). Throws `internal_error` for a region that no node can have.
 */
export function regionOf(fixed: string | undefined): (request: Request) => string {
  if (!fixed) return (request) => Located.safeParse(request).data?.cf.continent.toLowerCase() ?? ''
  const region = Heartbeat.shape.region.safeParse(fixed)
  if (!region.success)
    throw new QuartetError('internal_error', 'QUARTET_REGION has at most 32 of a-z, 0-9 and hyphens')
  return () => region.data
}
