import { z } from 'zod'
import { QuartetError } from '../shared/errors.ts'
import type { TenantId } from '../shared/ids.ts'
import { nodeTokenKey } from '../shared/node-token.ts'
import { AdapterPushes } from './adapters/push.ts'
import { NodeHealth } from './routing/health.ts'
import { type NodeAddress, parseNodes } from './routing/nodes.ts'
import { RetryBudget } from './routing/retry-budget.ts'
import type { TenantDirectory } from './tenants/directory.ts'
import { EdgeCaches } from './tenants/edge-caches.ts'

/** What wrangler.toml binds. Nothing outside this file reads a binding by name. */
export interface Bindings {
  readonly STORE: KVNamespace
  readonly TENANTS: DurableObjectNamespace<TenantDirectory>
  /** JSON: `[{"id": "node-1", "url": "http://127.0.0.1:8788"}]`. */
  readonly QUARTET_NODES: string
  /** Shared with the nodes; at least 32 bytes. */
  readonly QUARTET_NODE_SECRET: string
  /** Opens `/admin/v1`. */
  readonly QUARTET_ADMIN_KEY: string
  /** How long one request may take, in milliseconds; 300,000 when absent. */
  readonly QUARTET_REQUEST_TIMEOUT_MS?: string
}

/** The bindings as the rest of the worker uses them, and the state that lives as long as the isolate. */
export interface Platform {
  readonly store: KVNamespace
  readonly directory: (tenant: TenantId) => DurableObjectStub<TenantDirectory>
  readonly nodes: readonly NodeAddress[]
  readonly nodeKey: Uint8Array
  readonly adminKey: string
  readonly requestTimeoutMs: number
  readonly caches: EdgeCaches
  readonly health: NodeHealth
  readonly retryBudget: RetryBudget
  readonly pushes: AdapterPushes
}

const minAdminKeyLength = 16
const TimeoutMs = z.coerce.number().int().min(1).max(3_600_000).default(300_000)

const platforms = new WeakMap<Bindings, Platform>()

/** The platform of an isolate. Throws `internal_error` when a variable or secret is missing or malformed. */
export function platformOf(bindings: Bindings): Platform {
  const known = platforms.get(bindings)
  if (known !== undefined) return known
  const {
    QUARTET_ADMIN_KEY,
    QUARTET_NODE_SECRET,
    QUARTET_NODES,
    QUARTET_REQUEST_TIMEOUT_MS,
    STORE,
    TENANTS,
  } = bindings
  if ((QUARTET_ADMIN_KEY ?? '').length < minAdminKeyLength)
    throw new QuartetError(
      'internal_error',
      `QUARTET_ADMIN_KEY must have at least ${minAdminKeyLength} characters`,
    )
  const timeout = TimeoutMs.safeParse(QUARTET_REQUEST_TIMEOUT_MS)
  if (!timeout.success)
    throw new QuartetError('internal_error', 'QUARTET_REQUEST_TIMEOUT_MS must be 1 to 3600000 milliseconds')
  const platform: Platform = {
    store: STORE,
    directory: (tenant) => TENANTS.get(TENANTS.idFromName(tenant)),
    nodes: parseNodes(QUARTET_NODES),
    nodeKey: nodeTokenKey(QUARTET_NODE_SECRET ?? ''),
    adminKey: QUARTET_ADMIN_KEY,
    requestTimeoutMs: timeout.data,
    caches: new EdgeCaches(),
    health: new NodeHealth(),
    retryBudget: new RetryBudget(),
    pushes: new AdapterPushes(),
  }
  platforms.set(bindings, platform)
  return platform
}
