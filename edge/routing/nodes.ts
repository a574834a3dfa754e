import { z } from 'zod'
import { QuartetError } from '../../shared/errors.ts'

const NodeAddress = z.strictObject({
  id: z.string().regex(/^[A-Za-z0-9._-]{1,64}$/, 'a node id has 1 to 64 of letters, digits, dot, _ and -'),
  url: z.url({ protocol: /^https?$/ }).transform((url) => url.replace(/\/+$/, '')),
})
export type NodeAddress = z.infer<typeof NodeAddress>

const Nodes = z
  .array(NodeAddress)
  .min(1)
  .refine((nodes) => new Set(nodes.map(({ id }) => id)).size === nodes.length, 'two nodes have the same id')

/** Nodes from the variable `QUARTET_NODES`. Throws `internal_error` that says what is wrong with it. */
export function parseNodes(json: string | undefined): readonly NodeAddress[] {
  const fail = (reason: string): never => {
    throw new QuartetError(
      'internal_error',
      `QUARTET_NODES must be JSON like [{"id": "node-1", "url": "http://…"}]: ${reason}`,
    )
  }
  let raw: unknown
  try {
    raw = JSON.parse(json ?? '')
  } catch {
    return fail('it is not JSON')
  }
  const nodes = Nodes.safeParse(raw)
  return nodes.success ? nodes.data : fail(nodes.error.issues[0]?.message ?? 'malformed')
}
