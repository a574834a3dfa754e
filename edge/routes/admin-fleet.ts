import type { Context } from 'hono'
import type { FleetResponse } from '../../shared/api/fleet.ts'
import { QuartetError } from '../../shared/errors.ts'
import { NodeId } from '../../shared/heartbeat.ts'
import type { App } from '../request-context.ts'

/** `GET /admin/v1/fleet`: asks the registry itself, not this isolate's snapshot. Throws `node_unavailable` when it is down. */
export async function getFleet(c: Context<App>): Promise<Response> {
  const { fleet, registry } = c.get('platform')
  const { nodes, registryUpMs } = await registry()
    .fleet()
    .catch((cause: unknown): never => {
      throw new QuartetError('node_unavailable', 'the registry does not answer; requests go on without it', {
        cause,
      })
    })
  const known = new Set(nodes.flatMap(({ id, url }) => [id, url]))
  const unregistered = fleet.fixed
    .filter(({ id, url }) => !known.has(NodeId.parse(id)) && !known.has(url))
    .map(({ id, url }) => ({ id: NodeId.parse(id), url, state: 'unregistered' as const, report: null }))
  return c.json({ registryUpMs, nodes: [...nodes, ...unregistered] } satisfies FleetResponse)
}
