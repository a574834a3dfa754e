import { z } from 'zod'
import { QuartetError } from '../../shared/errors.ts'
import type { BackboneDigest } from '../../shared/ids.ts'
import { NodeAddress } from '../../shared/node-address.ts'

/** A node's report, as far as routing needs it. */
export interface NodeSelfReport {
  /** Differs for each process. */
  readonly instanceId: string
  readonly region: string
  readonly backbone: BackboneDigest
  readonly contextLength: number
  /** Sequences in its largest batch. */
  readonly maxBatch: number
  readonly running: number
  readonly waiting: number
  /** Rows of its KV cache that no request holds. */
  readonly freeRows: number
  readonly draining: boolean
  /** Prefixes of the digests it holds (shared/resident-adapters.ts). */
  readonly resident: ReadonlySet<string>
  /** When it said so, by this isolate's clock: milliseconds since 1970. */
  readonly reportedAt: number
}

/** A node that requests may be sent to. */
export interface FleetNode extends NodeAddress {
  /** null for a node that is only listed in `QUARTET_NODES`. */
  readonly report: NodeSelfReport | null
  /** The registry has not heard of it for `nodeLostMs`: it is asked only when nobody else is left. */
  readonly isLost?: boolean
}

const Nodes = z
  .array(NodeAddress)
  .refine((nodes) => new Set(nodes.map(({ id }) => id)).size === nodes.length, 'two nodes have the same id')

/** Fixed nodes from the variable `QUARTET_NODES`; none when it is absent. Throws `internal_error` that says what is wrong with it. */
export function parseNodes(json: string | undefined): readonly NodeAddress[] {
  const fail = (reason: string): never => {
    throw new QuartetError(
      'internal_error',
      `QUARTET_NODES must be JSON like [{"id": "node-1", "url": "http://…"}]: ${reason}`,
    )
  }
  let raw: unknown
  try {
    raw = JSON.parse(json || '[]')
  } catch {
    return fail('it is not JSON')
  }
  const nodes = Nodes.safeParse(raw)
  return nodes.success ? nodes.data : fail(nodes.error.issues[0]?.message ?? 'malformed')
}
