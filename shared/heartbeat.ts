import { z } from 'zod'
import { BackboneDigest, BackboneSlug, SettlementId } from './ids.ts'
import { NodeUrl } from './node-url.ts'
import { Settlement } from './settlement.ts'

/**
 * `POST /fleet/v1/heartbeat`: a node tells the edge its status, every `heartbeatMs`, signed with the secret that both
 * share (heartbeat-token.ts: one use, bound to the body).
 */
export const heartbeatMs = 1_000
/** A node unheard of for this long is not routed to. */
export const nodeLostMs = 5_000
export const maxHeartbeatBytes = 1024 * 1024
export const maxSettlementsPerHeartbeat = 256
/** The most adapters that a node lists; it lists those used most recently. */
export const maxResidentAdapters = 50_000

/** Names a node in its fleet: adapters are placed by it, and tokens are made for it. */
export const NodeId = z
  .string()
  .regex(/^[A-Za-z0-9._-]{1,64}$/, 'a node id has 1 to 64 of letters, digits, dot, _ and -')
  .brand('NodeId')
export type NodeId = z.infer<typeof NodeId>

export const Heartbeat = z.strictObject({
  node: NodeId,
  /** Where edges reach it. */
  url: NodeUrl,
  region: z.string().regex(/^[a-z0-9-]{0,32}$/, 'must have at most 32 of a-z, 0-9 and hyphens, like eu-west'),
  /** Differs for each process: a restarted node is a new one. */
  instanceId: z.uuid(),
  /** Counts up within one instance: an older heartbeat never replaces a newer one. */
  sequence: z.int().min(0),
  backbone: z.strictObject({ slug: BackboneSlug, digest: BackboneDigest }),
  contextLength: z.int().min(1),
  /** Sequences in the largest batch. */
  maxBatch: z.int().min(1),
  running: z.int().min(0),
  waiting: z.int().min(0),
  cacheRows: z.strictObject({ free: z.int().min(0), all: z.int().min(0) }),
  /** Resident adapters: the first six bytes of each digest, one after the other, base64. */
  resident: z
    .string()
    .max(8 * maxResidentAdapters)
    .regex(/^(?:[A-Za-z0-9+/]{8})*$/, 'not a list of prefixes'),
  draining: z.boolean(),
  /** Rates over the last seconds, for people who watch. */
  rates: z.strictObject({
    tokensPerSecond: z.number().min(0),
    requestsPerSecond: z.number().min(0),
    firstTokenMsP50: z.number().min(0).nullable(),
    firstTokenMsP95: z.number().min(0).nullable(),
  }),
  /** Settlements that no edge has acknowledged for a while. */
  settlements: z.array(Settlement).max(maxSettlementsPerHeartbeat),
})
export type Heartbeat = z.infer<typeof Heartbeat>

/** Who a node is, and how it is at the moment: a heartbeat without what orders heartbeats and settles. */
export type NodeStatus = Omit<Heartbeat, 'instanceId' | 'sequence' | 'settlements'>

export const HeartbeatResponse = z.object({
  /**
   * False when the heartbeat was signed for another epoch of the registry (at a node's start, after a restart of the
   * registry): nothing of it was taken, and the node sends the next one at once.
   */
  accepted: z.boolean(),
  /** The registry's epoch, for the next heartbeat's token. */
  epoch: z.string().max(64),
  /** The edge's clock, milliseconds since 1970: a node judges the age of the edge's tokens by it. */
  time: z.int(),
  /** Settlements that are charged and recorded, once; the node forgets them. */
  acknowledged: z.array(SettlementId),
})
export type HeartbeatResponse = z.infer<typeof HeartbeatResponse>
