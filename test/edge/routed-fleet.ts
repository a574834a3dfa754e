import type { FleetNode, NodeSelfReport } from '../../edge/fleet/nodes.ts'
import { chooseNode, type RouteRequest } from '../../edge/routing/choose-node.ts'
import { Router } from '../../edge/routing/router.ts'
import { NodeId } from '../../shared/heartbeat.ts'
import { AdapterDigest, type AdapterKey, adapterKey, BackboneDigest, TenantId } from '../../shared/ids.ts'
import { rankNodes } from './rank-nodes.ts'

/** An idle fleet, requests for its nodes, and a router between the two whose clock a test moves. */

const backbone = BackboneDigest.parse('ab'.repeat(32))
export const adapterOf = (tenant: string, at: number) =>
  adapterKey(TenantId.parse(tenant), AdapterDigest.parse(at.toString(16).padStart(12, '0').padEnd(64, '0')))
export const adapter = (at: number) => adapterOf('acme', at)
export const keys = Array.from({ length: 4000 }, (_, at) => adapter(at))

export const start = 1_000_000
const idle: NodeSelfReport = {
  instanceId: 'one',
  region: '',
  backbone,
  contextLength: 4096,
  maxBatch: 16,
  running: 0,
  waiting: 0,
  freeRows: 16_384,
  draining: false,
  resident: new Set(),
  reportedAt: start,
}
export const node = (at: number, report: Partial<NodeSelfReport> = {}): FleetNode => ({
  id: NodeId.parse(`node-${at}`),
  url: `http://10.0.0.${at}`,
  report: { ...idle, ...report },
})
export const fleet = (
  count: number,
  report: (at: number) => Partial<NodeSelfReport> = () => ({}),
): FleetNode[] => Array.from({ length: count }, (_, at) => node(at, report(at)))
/** The node that rendezvous hashing puts first. */
export const home = (key: AdapterKey, nodes: readonly FleetNode[]) => rankNodes(key, nodes)[0]?.id

export class Clock {
  time = start
  readonly now = () => this.time
}

export const ask = (adapter: AdapterKey | null, more: Partial<RouteRequest> = {}): RouteRequest => ({
  adapter,
  backbone,
  promptTokens: 64,
  rows: 128,
  region: '',
  ...more,
})
export const router = (clock = new Clock()) => new Router({ now: clock.now, random: () => 0.5 })
/** The nodes that would be asked one after the other, if each failed. */
export function route(nodes: readonly FleetNode[], asked: RouteRequest, via = router()): string[] {
  const first = chooseNode(asked, via.view(nodes))
  if (first === undefined) return []
  const rest = nodes.filter(({ id }) => id !== first.id)
  return [first.id, ...route(rest, asked, via)]
}
