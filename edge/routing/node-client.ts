import { throughClosedConnections } from '../../shared/closed-connection.ts'
import { sha256Hex } from '../../shared/digest.ts'
import type { TenantId } from '../../shared/ids.ts'
import type { NodeAddress } from '../../shared/node-address.ts'
import { signNodeToken } from '../../shared/node-token.ts'
import type { GenerateRequest } from '../../shared/wire.ts'
import type { RequestReport } from '../telemetry/request-report.ts'
import { type Asked, type EventGroup, NodeEvents } from './node-events.ts'
import { failureOf, NodeFailure } from './node-failures.ts'

export interface NodeCall {
  readonly node: NodeAddress
  readonly tenant: TenantId
  /** When the tenant was created. */
  readonly tenancy: number
  readonly request: GenerateRequest
  /** Rows that the adapter makes; 0 for the untuned backbone. */
  readonly promptRows: number
  readonly shape: Asked['shape']
  readonly nodeKey: Uint8Array
  readonly signal: AbortSignal
  /** Notes the call, and gives the headers that make it part of the request's trace. */
  readonly report: Pick<RequestReport, 'attempt'>
}

export type NodeAnswer =
  | { readonly kind: 'adapter-missing' }
  /** The first group is there. */
  | { readonly kind: 'events'; readonly events: AsyncGenerator<EventGroup, void> }

/** `POST /v1/generate`, with a token of its own. Throws NodeFailure. */
export async function generateOn({
  node,
  nodeKey,
  promptRows,
  report,
  request,
  signal,
  shape,
  tenancy,
  tenant,
}: NodeCall): Promise<NodeAnswer> {
  const body = JSON.stringify(request)
  const grant = {
    node: node.id,
    tenant,
    tenancy,
    act: 'generate',
    rid: request.requestId,
    adapter: request.adapter,
    ...(request.behind === undefined ? {} : { behind: request.behind }),
    body: await sha256Hex(body),
  } as const
  const { attempt, headers } = report.attempt(node)
  const response = await throughClosedConnections(async () => {
    // A token is good for one use.
    const token = await signNodeToken(nodeKey, grant)
    return fetch(`${node.url}/v1/generate`, {
      method: 'POST',
      // A node that sends elsewhere would have the token and the prompt sent there.
      redirect: 'manual',
      headers: { ...headers, authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body,
      signal,
    })
  }).catch((thrown: unknown): never => {
    attempt.end(signal.aborted ? 'cancelled' : 'unreachable')
    throw new NodeFailure('unreachable', { message: `node ${node.id} cannot be reached`, thrown })
  })
  if (response.ok && response.body !== null) {
    const events = new NodeEvents(response.body, { node, promptRows, request, shape, attempt })
    return { kind: 'events', events: await events.begin() }
  }
  if (response.status === 409) {
    attempt.end('adapter_missing')
    await response.body?.cancel()
    return { kind: 'adapter-missing' }
  }
  const failure = await failureOf(response, node.id)
  attempt.end(failure.verdict.code)
  throw failure
}
