import { z } from 'zod'
import { Heartbeat, NodeId } from '../heartbeat.ts'

/** `GET /admin/v1/fleet`: the registry's nodes as of now, and those of `QUARTET_NODES` that it has not heard of. */

export const NodeState = z.enum([
  /** Takes requests. */
  'ready',
  /** Finishes what it has and takes nothing new. */
  'draining',
  /** It drained, finished what it had, said so, and is gone. */
  'left',
  /** Unheard of for `nodeLostMs`. */
  'lost',
  /** Listed in `QUARTET_NODES` only: routed to, without knowing its load. */
  'unregistered',
])
export type NodeState = z.infer<typeof NodeState>

/** The node's last report. */
export const NodeReport = Heartbeat.pick({
  region: true,
  instanceId: true,
  backbone: true,
  contextLength: true,
  maxBatch: true,
  running: true,
  waiting: true,
  cacheRows: true,
  rates: true,
}).extend({
  residentAdapters: z.int().min(0),
  /** Milliseconds since the registry received it, by the registry's clock. */
  ageMs: z.number().min(0),
})
export type NodeReport = z.infer<typeof NodeReport>

export const FleetNodeSummary = z.object({
  id: NodeId,
  url: z.url(),
  state: NodeState,
  /** null for an unregistered node, and for one that the registry has not heard since its own restart. */
  report: NodeReport.nullable(),
})
export type FleetNodeSummary = z.infer<typeof FleetNodeSummary>

export const FleetResponse = z.object({
  /** Milliseconds since the registry began; it begins anew when its Durable Object moves or restarts. */
  registryUpMs: z.number().min(0),
  /** Ordered by id. */
  nodes: z.array(FleetNodeSummary),
})
export type FleetResponse = z.infer<typeof FleetResponse>
