import { throughClosedConnections } from '../../shared/closed-connection.ts'
import { QuartetError } from '../../shared/errors.ts'
import type { AdapterDigest, RequestId, TenantId } from '../../shared/ids.ts'
import type { NodeAddress } from '../../shared/node-address.ts'
import { signNodeToken } from '../../shared/node-token.ts'
import { pushTimeoutMs } from '../../shared/wire.ts'
import { SharedWork } from '../http/shared-work.ts'
import { failureOf, NodeFailure } from '../routing/node-failures.ts'
import type { KvStore } from '../store/kv-store.ts'
import type { RequestReport } from '../telemetry/request-report.ts'

export interface Push {
  readonly node: NodeAddress
  readonly tenant: TenantId
  readonly digest: AdapterDigest
  readonly requestId: RequestId
  readonly store: Pick<KvStore, 'adapter'>
  readonly nodeKey: Uint8Array
  /** Keeps the push going when the request that began it is gone: others wait for it. */
  readonly background: (work: Promise<unknown>) => void
  /** Notes the call, and gives the headers that make it part of the request's trace. */
  readonly report: Pick<RequestReport, 'push'>
  /** The request's signal: when the request is over it waits no longer, but the push goes on for the others. */
  readonly signal: AbortSignal
}

/** A push that has not ended by then was lost with the request that began it: a waiting request makes its own push. */
const maxWaitMs = pushTimeoutMs + 1_000

/** Brings adapters from KV to nodes that lack them; requests that miss the same one at once push it once. */
export class AdapterPushes {
  readonly #pushes = new SharedWork({ maxWaitMs })

  async push({ signal, ...push }: Push): Promise<void> {
    const pushed = this.#pushes.join(`${push.node.id}/${push.tenant}/${push.digest}`, {
      background: push.background,
      run: () => throughClosedConnections(() => pushOnce(push)),
    })
    const { promise: over, resolve } = Promise.withResolvers<void>()
    const leave = () => resolve()
    signal.addEventListener('abort', leave, { once: true })
    if (signal.aborted) leave()
    try {
      await Promise.race([pushed, over])
      signal.throwIfAborted()
    } finally {
      signal.removeEventListener('abort', leave)
    }
  }
}

async function pushOnce({
  digest,
  node,
  nodeKey,
  report,
  requestId,
  store,
  tenant,
}: Omit<Push, 'signal'>): Promise<void> {
  let unreadable: unknown
  const body = await store.adapter({ tenant, digest }, (thrown) => {
    unreadable = thrown
  })
  if (body === undefined) throw notThere()
  // The body is the adapter, so its hash is the adapter's digest.
  const token = await signNodeToken(nodeKey, {
    node: node.id,
    tenant,
    act: 'put-adapter',
    rid: requestId,
    adapter: digest,
    body: digest,
  })
  const { attempt, headers } = report.push(node)
  const late = new AbortController()
  const timer = setTimeout(() => late.abort(), pushTimeoutMs)
  try {
    const response = await fetch(`${node.url}/v1/adapters/${digest}`, {
      method: 'PUT',
      // A node that sends elsewhere would have the token and the adapter sent there.
      redirect: 'manual',
      headers: {
        ...headers,
        authorization: `Bearer ${token}`,
        'content-type': 'application/octet-stream',
      },
      body,
      signal: late.signal,
    }).catch((thrown: unknown): never => {
      if (unreadable !== undefined) throw notThere(unreadable)
      const reason = late.signal.aborted ? 'push_timeout' : 'unreachable'
      throw new NodeFailure(reason, { message: `node ${node.id} did not take the adapter`, thrown })
    })
    // A server, or a proxy in front of it, that waits no longer for the body.
    if (response.status === 408)
      throw new NodeFailure('push_timeout', { message: `node ${node.id} waited no longer for the adapter` })
    // The node took a request for this backbone just before, so the file is what is wrong, wherever it is sent.
    if (!response.ok)
      throw await failureOf(response, node.id, {
        backbone_mismatch: 'adapter_invalid',
        // All that is resident there is in use.
        node_unavailable: 'queue_full',
      })
    await response.body?.cancel()
    attempt.end()
  } catch (thrown) {
    attempt.end(thrown instanceof NodeFailure ? thrown.reason : 'internal_error')
    throw thrown
  } finally {
    clearTimeout(timer)
  }
}

/** A file that the edge itself cannot read is no node's fault. */
const notThere = (cause?: unknown) =>
  new QuartetError('node_unavailable', 'the adapter has not arrived at this location yet; retry', {
    cause,
  })
