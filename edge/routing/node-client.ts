import { throughClosedConnections } from '../../shared/closed-connection.ts'
import { sha256Hex } from '../../shared/digest.ts'
import type { TenantId } from '../../shared/ids.ts'
import { signNodeToken } from '../../shared/node-token.ts'
import { GenerateEvent, type GenerateRequest } from '../../shared/wire.ts'
import type { NodeAddress } from '../fleet/nodes.ts'
import type { NodeAttempt, RequestReport } from '../telemetry/request-report.ts'
import { asAsked } from './as-asked.ts'
import { readLines } from './lines.ts'
import { failureOf, NodeFailure } from './node-failures.ts'

export interface NodeCall {
  readonly node: NodeAddress
  readonly tenant: TenantId
  readonly request: GenerateRequest
  /** Rows that the adapter makes; 0 for the untuned backbone. */
  readonly promptRows: number
  /** Of the backbone; undefined where its record does not say. */
  readonly vocab: number | undefined
  readonly nodeKey: Uint8Array
  readonly signal: AbortSignal
  /** Told of the call; gives the headers that make it part of the request's trace. */
  readonly report: Pick<RequestReport, 'attempt'>
}

export type NodeAnswer =
  | { readonly kind: 'adapter-missing' }
  | { readonly kind: 'events'; readonly events: AsyncGenerator<readonly GenerateEvent[], void> }

/** `POST /v1/generate`, with a token of its own. Throws NodeFailure. */
export async function generateOn({
  node,
  nodeKey,
  promptRows,
  report,
  request,
  signal,
  tenant,
  vocab,
}: NodeCall): Promise<NodeAnswer> {
  const body = JSON.stringify(request)
  const grant = {
    node: node.id,
    tenant,
    act: 'generate',
    rid: request.requestId,
    adapter: request.adapter,
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
    const events = asAsked(readEvents(response.body, node), { node, promptRows, request, vocab })
    return { kind: 'events', events: observed(events, attempt) }
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

/** The same events; the attempt learns of the first and of the end. */
async function* observed(
  events: AsyncGenerator<readonly GenerateEvent[], void>,
  attempt: NodeAttempt,
): AsyncGenerator<readonly GenerateEvent[], void> {
  try {
    for await (const group of events) {
      attempt.token()
      yield group
    }
    attempt.end()
  } catch (thrown) {
    attempt.end(thrown instanceof NodeFailure ? thrown.verdict.code : 'internal_error')
    throw thrown
  } finally {
    attempt.end()
  }
}

/**
 * A node's events as they arrive, in the groups they arrive in, up to and with `done` or `error`. A line that is no
 * event and an end without either throw NodeFailure. Leaving early cancels the node's work.
 */
async function* readEvents(
  body: ReadableStream<Uint8Array>,
  node: NodeAddress,
): AsyncGenerator<readonly GenerateEvent[], void> {
  try {
    for await (const lines of readLines(body)) {
      const events = lines.map((line) => parseEvent(line, node))
      const end = events.findIndex(({ type }) => type !== 'token')
      yield end === -1 ? events : events.slice(0, end + 1)
      if (end !== -1) return
    }
  } catch (thrown) {
    if (thrown instanceof NodeFailure) throw thrown
    throw new NodeFailure('truncated', { message: `the stream of node ${node.id} broke`, thrown })
  }
  throw new NodeFailure('truncated', { message: `the stream of node ${node.id} ended early` })
}

function parseEvent(line: string, node: NodeAddress): GenerateEvent {
  try {
    return GenerateEvent.parse(JSON.parse(line))
  } catch (thrown) {
    throw new NodeFailure('other', { message: `node ${node.id} sent a line that is no event`, thrown })
  }
}
