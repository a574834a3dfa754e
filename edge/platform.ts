import { z } from 'zod'
import { QuartetError, toQuartetError } from '../shared/errors.ts'
import type { TenantId } from '../shared/ids.ts'
import { jsonLog, type Log, logThreshold } from '../shared/log.ts'
import { nodeTokenKey } from '../shared/node-token.ts'
import { telemetrySettings } from '../shared/telemetry/settings.ts'
import type { AuditLog } from './audit/audit-log.ts'
import { letterBits } from './auth/admin.ts'
import { type ClientAddress, clientAddressOf } from './auth/client-address.ts'
import { GuessThrottle } from './auth/guess-throttle.ts'
import { Budgets } from './budgets/budgets.ts'
import type { TenantBudget } from './budgets/tenant-budget.ts'
import { controlCalls } from './control-calls.ts'
import type { DirectoryBindings } from './directory/delivery.ts'
import type { TenantDirectory } from './directory/directory.ts'
import type { ChangeFeed } from './feed/change-feed.ts'
import { FeedView } from './feed/feed-view.ts'
import type { TenantTraining } from './fine-tuning/tenant-training.ts'
import type { TrainingQueue } from './fine-tuning/training-queue.ts'
import { FleetView } from './fleet/fleet-view.ts'
import type { NodeRegistry } from './fleet/node-registry.ts'
import { parseNodes } from './fleet/nodes.ts'
import { regionOf } from './fleet/region.ts'
import type { IdempotentCall } from './http/idempotent-call.ts'
import type { TenantResponses } from './responses/tenant-responses.ts'
import { Router } from './routing/router.ts'
import type { TenantShadows } from './shadows/tenant-shadows.ts'
import type { StoreBindings } from './store/bindings.ts'
import { FileBucket } from './store/file-bucket.ts'
import { KvStore } from './store/kv-store.ts'
import { Telemetry } from './telemetry/telemetry.ts'
import type { TenantBatches } from './tenant-batches.ts'
import { EdgeCaches } from './tenants/edge-caches.ts'
import { AdapterPushes } from './uploads/push.ts'
import { UploadMemory } from './uploads/upload-memory.ts'

/** The bindings of wrangler.toml. Nothing but this file and the Durable Objects themselves reads a binding by name. */
export interface Bindings extends DirectoryBindings, StoreBindings {
  /** The console's files. */
  readonly ASSETS: Fetcher
  readonly AUDIT: DurableObjectNamespace<AuditLog>
  readonly IDEMPOTENCY: DurableObjectNamespace<IdempotentCall>
  readonly TENANTS: DurableObjectNamespace<TenantDirectory>
  readonly RESPONSES: DurableObjectNamespace<TenantResponses>
  readonly SHADOWS: DurableObjectNamespace<TenantShadows>
  readonly REGISTRY: DurableObjectNamespace<NodeRegistry>
  readonly TRAINING: DurableObjectNamespace<TenantTraining>
  readonly TRAINING_QUEUE: DurableObjectNamespace<TrainingQueue>
  readonly BATCHES: DurableObjectNamespace<TenantBatches>
  /** Nodes that need not register, JSON: `[{"id": "node-1", "url": "http://127.0.0.1:8788"}]`; none when absent. */
  readonly QUARTET_NODES?: string
  /** Where this worker's requests come from, to prefer nodes of the same region; the client's continent when absent. */
  readonly QUARTET_REGION?: string
  /** Shared with the nodes; at least 32 bytes. */
  readonly QUARTET_NODE_SECRET: string
  /** Opens `/admin/v1`. */
  readonly QUARTET_ADMIN_KEY: string
  /**
   * The header in which a proxy in front of the worker says who its client is; where Cloudflare is in front, none is needed
   * (auth/client-address.ts).
   */
  readonly QUARTET_CLIENT_ADDRESS_HEADER?: string
  /** `true`: webhooks may be http, at any port and address. For machines of one's own; never where tenants are strangers. */
  readonly QUARTET_PRIVATE_WEBHOOKS?: string
  /** How long a trainer may be silent before another one has its job; 60 when absent. */
  readonly QUARTET_TRAINER_LEASE_SECONDS?: string
  /** How long one request may take, in milliseconds; 300,000 when absent. */
  readonly QUARTET_REQUEST_TIMEOUT_MS?: string
  /** How long an isolate gathers what requests used before it tells their budgets, in milliseconds; 5,000 when absent. */
  readonly QUARTET_GATHER_MS?: string
  /** URL of an OTLP/HTTP receiver; no traces without it. */
  readonly QUARTET_OTLP_ENDPOINT?: string
  /** Headers for it, a secret: `authorization=Bearer%20…,x-team=quartet`. */
  readonly QUARTET_OTLP_HEADERS?: string
  /** Share of the traces begun here that are recorded, 0 to 1; 1 when absent. */
  readonly QUARTET_TRACE_RATIO?: string
  /** debug, info, warn, error or off; info when absent. */
  readonly QUARTET_LOG_LEVEL?: string
}

/**
 * The bindings as the rest of the worker uses them, and the state that lives as long as the isolate. A binding that
 * cannot be reached throws `control_unavailable`.
 */
export interface Platform {
  readonly store: KvStore
  readonly directory: (tenant: TenantId) => DurableObjectStub<TenantDirectory>
  /** Knows which tenants there are, and which changed lately. */
  readonly changeFeed: () => DurableObjectStub<ChangeFeed>
  /** This isolate's knowledge of that. */
  readonly feed: FeedView
  readonly audit: () => DurableObjectStub<AuditLog>
  /** Finds the record by the hash of its caller and key. */
  readonly idempotentCall: (sha256: string) => DurableObjectStub<IdempotentCall>
  readonly guesses: GuessThrottle
  readonly clientAddress: (request: Request) => ClientAddress
  readonly budget: (tenant: TenantId) => DurableObjectStub<TenantBudget>
  readonly budgets: Budgets
  /** The responses of a tenant as it was created then: one that is made anew under the same name has none of the old one's. */
  readonly responses: (tenant: TenantId, createdAt: number) => DurableObjectStub<TenantResponses>
  /** What shadows of a tenant as it was created then answered, as `responses`. */
  readonly shadows: (tenant: TenantId, createdAt: number) => DurableObjectStub<TenantShadows>
  readonly registry: () => DurableObjectStub<NodeRegistry>
  readonly training: (tenant: TenantId) => DurableObjectStub<TenantTraining>
  readonly trainingQueue: () => DurableObjectStub<TrainingQueue>
  /** The batches of a tenant as it was created then, as `responses`. */
  readonly batches: (tenant: TenantId, createdAt: number) => DurableObjectStub<TenantBatches>
  readonly files: FileBucket
  readonly fleet: FleetView
  readonly region: (request: Request) => string
  readonly nodeKey: Uint8Array
  readonly adminKey: string
  readonly requestTimeoutMs: number
  readonly allowPrivateWebhooks: boolean
  readonly caches: EdgeCaches
  readonly router: Router
  readonly pushes: AdapterPushes
  readonly uploadMemory: UploadMemory
  readonly log: Log
  readonly telemetry: Telemetry
}

const minAdminKeyLength = 16
/** The least `letterBits` of the key. An attacker tries repeating keys first. */
const minAdminKeyBits = 32
const TimeoutMs = z.coerce.number().int().min(1).max(3_600_000).default(300_000)

/** The bound is below the age at which a node offers a settlement itself (gpu-node/settlements). */
const GatherMs = z.coerce.number().int().min(1).max(7_000).default(5_000)

const platforms = new WeakMap<Bindings, Platform>()

/** The platform of an isolate. Throws `internal_error` when a variable or secret is missing or malformed. */
export function platformOf(bindings: Bindings): Platform {
  const known = platforms.get(bindings)
  if (known !== undefined) return known
  const {
    AUDIT,
    BATCHES,
    FEED,
    IDEMPOTENCY,
    QUARTET_ADMIN_KEY,
    QUARTET_NODE_SECRET,
    QUARTET_NODES,
    QUARTET_REGION,
    QUARTET_REQUEST_TIMEOUT_MS,
    REGISTRY,
    RESPONSES,
    SHADOWS,
    STORE,
    TENANTS,
    BUDGETS,
    FILES,
    TRAINING,
    TRAINING_QUEUE,
  } = bindings
  if ((QUARTET_ADMIN_KEY ?? '').length < minAdminKeyLength || letterBits(QUARTET_ADMIN_KEY) < minAdminKeyBits)
    throw new QuartetError(
      'internal_error',
      `QUARTET_ADMIN_KEY must have at least ${minAdminKeyLength} characters that do not repeat themselves (openssl rand -hex 32)`,
    )
  const timeout = TimeoutMs.safeParse(QUARTET_REQUEST_TIMEOUT_MS)
  if (!timeout.success)
    throw new QuartetError('internal_error', 'QUARTET_REQUEST_TIMEOUT_MS must be 1 to 3600000 milliseconds')
  const gather = GatherMs.safeParse(bindings.QUARTET_GATHER_MS)
  if (!gather.success)
    throw new QuartetError('internal_error', 'QUARTET_GATHER_MS must be 1 to 7000 milliseconds')
  const log = jsonLog(logThreshold(bindings.QUARTET_LOG_LEVEL), console.log)
  const platform: Platform = {
    store: new KvStore(controlCalls(STORE, 'the key-value storage')),
    directory: (tenant) => controlCalls(TENANTS.get(TENANTS.idFromName(tenant)), "the tenant's directory"),
    changeFeed: () => controlCalls(FEED.get(FEED.idFromName('feed')), 'the change feed'),
    feed: new FeedView(),
    audit: () => controlCalls(AUDIT.get(AUDIT.idFromName('audit')), 'the audit log'),
    idempotentCall: (sha256) =>
      controlCalls(IDEMPOTENCY.get(IDEMPOTENCY.idFromName(sha256)), 'the record of the Idempotency-Key'),
    guesses: new GuessThrottle(),
    clientAddress: clientAddressOf(bindings.QUARTET_CLIENT_ADDRESS_HEADER),
    budget: (tenant) => controlCalls(BUDGETS.get(BUDGETS.idFromName(tenant)), "the tenant's budget"),
    budgets: new Budgets({
      timeoutMs: timeout.data,
      gatherMs: gather.data,
      failed: (thrown) => log('warn', 'budget_call_failed', { reason: toQuartetError(thrown).message }),
    }),
    training: (tenant) =>
      controlCalls(TRAINING.get(TRAINING.idFromName(tenant)), "the record of the tenant's jobs"),
    trainingQueue: () =>
      controlCalls(TRAINING_QUEUE.get(TRAINING_QUEUE.idFromName('queue')), 'the queue of jobs'),
    batches: (tenant, createdAt) =>
      controlCalls(
        BATCHES.get(BATCHES.idFromName(`${tenant} ${createdAt}`)),
        "the record of the tenant's batches",
      ),
    files: new FileBucket(controlCalls(FILES, 'the storage of files', 'createMultipartUpload')),
    responses: (tenant, createdAt) =>
      controlCalls(
        RESPONSES.get(RESPONSES.idFromName(`${tenant} ${createdAt}`)),
        "the store of the tenant's responses",
      ),
    shadows: (tenant, createdAt) =>
      controlCalls(
        SHADOWS.get(SHADOWS.idFromName(`${tenant} ${createdAt}`)),
        "the store of the shadows' answers",
      ),
    registry: () => controlCalls(REGISTRY.get(REGISTRY.idFromName('fleet')), 'the registry of nodes'),
    fleet: new FleetView({ fixed: parseNodes(QUARTET_NODES), log }),
    region: regionOf(QUARTET_REGION),
    nodeKey: nodeTokenKey(QUARTET_NODE_SECRET ?? ''),
    adminKey: QUARTET_ADMIN_KEY,
    requestTimeoutMs: timeout.data,
    allowPrivateWebhooks: bindings.QUARTET_PRIVATE_WEBHOOKS === 'true',
    caches: new EdgeCaches(),
    router: new Router(),
    pushes: new AdapterPushes(),
    uploadMemory: new UploadMemory(),
    log,
    telemetry: new Telemetry(telemetrySettings(bindings), log),
  }
  platforms.set(bindings, platform)
  return platform
}
