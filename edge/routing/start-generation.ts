import type { Context } from 'hono'
import { QuartetError } from '../../shared/errors.ts'
import type { GenerateEvent, GenerateRequest } from '../../shared/wire.ts'
import type { TenantApp } from '../http/context.ts'
import { generateOn } from './node-client.ts'
import { NodeFailure } from './node-failures.ts'
import type { NodeAddress } from './nodes.ts'
import { rankNodes } from './rendezvous.ts'

const maxAttempts = 3

export interface RunningGeneration {
  readonly node: NodeAddress
  /** Attempts that failed before this one. */
  readonly retries: number
  /** From the first token on. */
  readonly events: AsyncGenerator<readonly GenerateEvent[], void>
}

export interface GenerationStart {
  readonly request: Omit<GenerateRequest, 'timeoutMs'>
  readonly signal: AbortSignal
  /** When the whole request must be over, in milliseconds since 1970. */
  readonly deadline: number
}

/**
 * Starts a generation on the node that rendezvous hashing prefers and returns with its first token. Until then a
 * failure moves on to the next node, as far as the retry budget allows.
 */
export async function startGeneration(
  start: GenerationStart,
  c: Context<TenantApp>,
): Promise<RunningGeneration> {
  const { health, nodes, retryBudget } = c.get('platform')
  const { request, signal } = start
  const candidates = health.prefer(rankNodes(request.adapter ?? request.requestId, nodes))
  retryBudget.request()
  let failure: NodeFailure | undefined
  for (let retries = 0, at = 0; retries < maxAttempts; retries++) {
    const node = candidates[at]
    if (node === undefined || (retries > 0 && !retryBudget.take())) break
    try {
      const events = await firstToken(node, start, c)
      health.answered(node)
      return { node, retries, events }
    } catch (thrown) {
      signal.throwIfAborted()
      if (!(thrown instanceof NodeFailure)) throw thrown
      failure = thrown
      if (thrown.verdict.avoid) health.failed(node)
      if (thrown.verdict.retry === 'never') break
      at = thrown.verdict.retry === 'anywhere' && candidates.length === 1 && retries === 0 ? at : at + 1
    }
  }
  throw failure?.toQuartetError() ?? new QuartetError('node_unavailable', 'there is no node')
}

async function firstToken(node: NodeAddress, start: GenerationStart, c: Context<TenantApp>) {
  const events = await openEvents(node, start, c)
  const first = await events.next()
  return prepend(first, events)
}

/** Calls the node; brings it the adapter when it lacks it, once. */
async function openEvents(
  node: NodeAddress,
  { deadline, request, signal }: GenerationStart,
  c: Context<TenantApp>,
) {
  const { nodeKey, pushes, store } = c.get('platform')
  const tenant = c.get('tenant')
  const call = () =>
    generateOn({
      node,
      nodeKey,
      request: { ...request, timeoutMs: Math.max(1, deadline - Date.now()) },
      signal,
      tenant,
    })
  let answer = await call()
  if (answer.kind === 'adapter-missing' && request.adapter !== null) {
    const { adapter: digest, requestId } = request
    const background = (work: Promise<unknown>) => c.executionCtx.waitUntil(work)
    await pushes.push({ background, digest, node, nodeKey, requestId, store, tenant })
    answer = await call()
  }
  if (answer.kind === 'events') return answer.events
  throw new NodeFailure('other', { message: `node ${node.id} still lacks the adapter that it was given` })
}

async function* prepend<T>(
  first: IteratorResult<T, void>,
  rest: AsyncGenerator<T, void>,
): AsyncGenerator<T, void> {
  try {
    if (first.done !== true) yield first.value
    yield* rest
  } finally {
    await rest.return()
  }
}
