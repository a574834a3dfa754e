import { hostname } from 'node:os'
import { QuartetError } from '../../shared/errors.ts'
import { NodeId, type NodeStatus } from '../../shared/heartbeat.ts'
import type { Serving } from '../server/serving.ts'
import type { Rates } from './rates.ts'
import { ResidentList } from './resident-list.ts'

/** A node's place in a fleet. */
export interface Membership {
  readonly node: NodeId
  readonly edge: string
  /** Where edges reach this node. */
  readonly url: string
  readonly region: string
}

/** Its settings; absent where there are none. */
interface FleetSettings {
  readonly advertise?: string | undefined
  readonly edge?: string | undefined
  readonly nodeId?: NodeId | undefined
  readonly region: string
}

const everyAddress = new Set(['0.0.0.0', '::'])

/** Throws `invalid_request` when the address that edges would be given is one that nobody can reach. */
export function assertReachable({
  advertise,
  edge,
  host,
}: Pick<FleetSettings, 'advertise' | 'edge'> & { readonly host: string }): void {
  if (edge === undefined || advertise !== undefined || !everyAddress.has(host)) return
  const param = '--advertise or QUARTET_NODE_URL'
  throw new QuartetError(
    'invalid_request',
    `${param} is required where the node listens on every address (${host}); say where edges reach it, like http://10.0.0.7:8788`,
    { param },
  )
}

/** The place that settings and the address that the node listens on give it; undefined without an edge. */
export function membershipOf(
  { advertise, edge, nodeId, region }: FleetSettings,
  listening: string,
): Membership | undefined {
  if (edge === undefined) return undefined
  return { node: nodeIdOf({ nodeId }, listening), edge, url: advertise ?? listening, region }
}

/** The node's name: as set, else host name and port. */
export function nodeIdOf({ nodeId }: Pick<FleetSettings, 'nodeId'>, listening: string): NodeId {
  const { port } = new URL(listening)
  return nodeId ?? NodeId.parse(`${hostname()}-${port}`.replaceAll(/[^A-Za-z0-9._-]/g, '-').slice(-64))
}

/** How the node is at the moment, as heartbeats say it. */
export function nodeStatus(
  { node, region, url }: Membership,
  { rates, serving }: { serving: Serving; rates: Rates },
): () => NodeStatus {
  const residents = new ResidentList()
  return () => {
    const { adapters, digest, engine, limits, slug } = serving.loadedModel()
    return {
      node,
      url,
      region,
      backbone: { slug, digest },
      contextLength: limits.contextLength,
      maxBatch: limits.maxBatch,
      running: engine.running,
      waiting: engine.waiting,
      cacheRows: { free: Math.max(0, limits.cacheRows - engine.takenRows), all: limits.cacheRows },
      resident: residents.of(adapters),
      draining: serving.draining,
      rates: rates.current,
    }
  }
}
