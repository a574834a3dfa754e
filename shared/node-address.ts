import { z } from 'zod'
import { NodeId } from './heartbeat.ts'
import { NodeUrl } from './node-url.ts'

/** A node, and where it answers. */
export const NodeAddress = z.strictObject({ id: NodeId, url: NodeUrl })
export type NodeAddress = z.infer<typeof NodeAddress>
