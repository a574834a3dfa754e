import { QuartetError } from '../../shared/errors.ts'
import type { AdapterDigest, RequestId, TenantId } from '../../shared/ids.ts'
import { signNodeToken } from '../../shared/node-token.ts'
import { failureOf, NodeFailure } from '../routing/node-failures.ts'
import type { NodeAddress } from '../routing/nodes.ts'
import { storeKeys } from '../tenants/records.ts'

export interface Push {
  readonly node: NodeAddress
  readonly tenant: TenantId
  readonly digest: AdapterDigest
  readonly requestId: RequestId
  readonly store: KVNamespace
  readonly nodeKey: Uint8Array
  /** Keeps the push going when the request that began it is gone: others wait for it. */
  readonly background: (work: Promise<unknown>) => void
}

/** Longer than a push takes, shorter than a client waits: then whoever waited for another's push does its own. */
const maxWaitMs = 10_000

/** Brings adapters from KV to nodes that lack them; requests that miss the same one at once push it once. */
export class AdapterPushes {
  readonly #running = new Map<string, Promise<void>>()

  async push(push: Push): Promise<void> {
    const key = `${push.node.id}/${push.tenant}/${push.digest}`
    const running = this.#running.get(key)
    if (running !== undefined && (await settledInTime(running))) return
    const own = pushOnce(push).finally(() => {
      if (this.#running.get(key) === own) this.#running.delete(key)
    })
    this.#running.set(key, own)
    push.background(own.catch(() => undefined))
    await own
  }
}

/** Whether another request's push succeeded while this one waited; its failure is not this request's. */
async function settledInTime(running: Promise<void>): Promise<boolean> {
  let timer: ReturnType<typeof setTimeout> | null = null
  const late = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => resolve(false), maxWaitMs)
  })
  const done = running.then(
    () => true,
    () => false,
  )
  return Promise.race([done, late]).finally(() => clearTimeout(timer))
}

async function pushOnce({ digest, node, nodeKey, requestId, store, tenant }: Push): Promise<void> {
  const bytes = await store.get(storeKeys.adapter(tenant, digest), 'arrayBuffer')
  if (bytes === null)
    throw new QuartetError('node_unavailable', 'the adapter has not arrived at this location yet; retry', {
      retryAfterSeconds: 5,
    })
  // The body is the adapter, so its hash is the adapter's digest.
  const token = await signNodeToken(nodeKey, {
    tenant,
    act: 'put-adapter',
    rid: requestId,
    adapter: digest,
    body: digest,
  })
  const response = await fetch(`${node.url}/v1/adapters/${digest}`, {
    method: 'PUT',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/octet-stream' },
    body: bytes,
  }).catch((thrown: unknown): never => {
    throw new NodeFailure('unreachable', { message: `node ${node.id} cannot be reached`, thrown })
  })
  if (!response.ok) throw await failureOf(response, node.id)
  await response.body?.cancel()
}
