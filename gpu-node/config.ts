import { parseArgs } from 'node:util'
import { z } from 'zod'
import { cacheTypes } from '../model/runtime/cache-type.ts'
import { prefillWeights } from '../model/runtime/prefill-weights.ts'
import { WeightFormat } from '../shared/backbone.ts'
import { QuartetError } from '../shared/errors.ts'
import { Heartbeat, NodeId } from '../shared/heartbeat.ts'
import { LogThreshold } from '../shared/log.ts'
import { minNodeSecretBytes } from '../shared/node-secret.ts'
import { NodeUrl } from '../shared/node-url.ts'
import { type TelemetrySettings, telemetrySettings } from '../shared/telemetry/settings.ts'

const whole = (min: number, max: number) =>
  z
    .string()
    .regex(/^[0-9]{1,16}$/, 'must be a whole number')
    .transform(Number)
    .pipe(z.int().min(min, `must be at least ${min}`).max(max, `must be at most ${max}`))

const webAddress = z
  .url({ protocol: /^https?$/, error: 'must be an http or https URL, like http://10.0.0.7:8788' })
  .transform((url) => url.replace(/\/+$/, ''))

const Settings = z.object({
  backbone: z.string().min(1).default('smollm2-135m-instruct'),
  weights: z.enum(WeightFormat.options, `must be one of ${WeightFormat.options.join(', ')}`).optional(),
  host: z.string().min(1).default('127.0.0.1'),
  port: whole(0, 65_535).default(8788),
  device: z.enum(['cpu', 'webgpu', 'cuda'], 'must be cpu, webgpu or cuda').default('cpu'),
  threads: whole(1, 1024).optional(),
  maxBatch: whole(1, 1024).default(16),
  chunkTokens: whole(8, 8192).default(512),
  stepMs: whole(1, 60_000).default(100),
  prefixBytes: whole(0, Number.MAX_SAFE_INTEGER).default(256 * 1024 ** 2),
  cacheRows: whole(64, 100_000_000).optional(),
  cacheBytes: whole(1, Number.MAX_SAFE_INTEGER).optional(),
  cacheType: z.enum(cacheTypes, 'must be f32, f16 or int8').optional(),
  prefillWeights: z.enum(prefillWeights, 'must be stored or f32').optional(),
  cudaGraphs: z.enum(['on', 'off'], 'must be on or off').default('on'),
  queue: whole(1, 100_000).default(256),
  tenantQueue: whole(1, 100_000).optional(),
  adapterCacheBytes: whole(1, Number.MAX_SAFE_INTEGER).default(1024 ** 3),
  adapterCacheCount: whole(1, 1_000_000).default(10_000),
  drainSeconds: whole(0, 3600).default(30),
  edge: webAddress.optional(),
  advertise: NodeUrl.optional(),
  region: Heartbeat.shape.region.default(''),
  nodeId: NodeId.optional(),
  logLevel: LogThreshold.default('info'),
  otlpEndpoint: z.string().optional(),
  otlpHeaders: z.string().optional(),
  traceRatio: z.string().optional(),
  secret: z
    .string(
      'is required: the same as the edge has, else a new one for both (`openssl rand -hex 32`); that of a local stack lies in .quartet/secrets.json, and is used where the command runs in that folder (or with --home or QUARTET_HOME)',
    )
    .refine((text) => Buffer.byteLength(text) >= minNodeSecretBytes, {
      error: `needs at least ${minNodeSecretBytes} bytes; make one with \`openssl rand -hex 32\``,
    }),
})

/** How a node is set up. */
export type NodeConfig = Readonly<Omit<Given, TelemetrySetting>> & { readonly telemetry: TelemetrySettings }

type Given = z.infer<typeof Settings>
type TelemetrySetting = 'otlpEndpoint' | 'otlpHeaders' | 'traceRatio'

interface Source {
  /** The option's name without the `--`; a setting that must not appear in a process list has none. */
  readonly flag?: string
  readonly env: string
  readonly help: string
}

const sources: { readonly [Setting in keyof Given]-?: Source } = {
  backbone: {
    flag: 'backbone',
    env: 'QUARTET_BACKBONE',
    help: 'a backbone folder, or the name of one in the cache',
  },
  weights: {
    flag: 'weights',
    env: 'QUARTET_WEIGHTS',
    help: 'which form of a backbone in the cache: q8 (the default), q4, f32, or for GPUs f16 or bf16',
  },
  host: { flag: 'host', env: 'QUARTET_NODE_HOST', help: 'address to listen on' },
  port: { flag: 'port', env: 'QUARTET_NODE_PORT', help: 'port to listen on; 0 takes any free one' },
  device: { flag: 'device', env: 'QUARTET_DEVICE', help: 'cpu, webgpu or cuda' },
  threads: { flag: 'threads', env: 'QUARTET_THREADS', help: 'threads that compute; by default one per core' },
  maxBatch: { flag: 'max-batch', env: 'QUARTET_MAX_BATCH', help: 'requests that run at the same time' },
  chunkTokens: {
    flag: 'chunk-tokens',
    env: 'QUARTET_CHUNK_TOKENS',
    help: 'rows of prompts that run between two decode steps, however quick the machine is',
  },
  stepMs: {
    flag: 'step-ms',
    env: 'QUARTET_STEP_MS',
    help: 'milliseconds that a step should take: prompts run in pieces so short that streams pause no longer',
  },
  cacheRows: {
    flag: 'cache-rows',
    env: 'QUARTET_CACHE_ROWS',
    help: 'tokens that running requests together may hold in the KV cache (default: 16384; with cuda, what is left of the device)',
  },
  prefixBytes: {
    flag: 'prefix-bytes',
    env: 'QUARTET_PREFIX_BYTES',
    help: 'memory for KV rows of earlier prompts, so that one that begins alike runs only the rest; 0 for none',
  },
  cacheBytes: {
    flag: 'cache-bytes',
    env: 'QUARTET_CACHE_BYTES',
    help: 'the same as memory, which then decides how many tokens fit',
  },
  cacheType: {
    flag: 'cache-type',
    env: 'QUARTET_CACHE_TYPE',
    help: 'how the KV cache is kept: f32 or int8 (a quarter of the memory) on the CPU, f16 or f32 with webgpu, f16 or int8 with cuda; by default f32 on the CPU, f16 on GPUs',
  },
  prefillWeights: {
    flag: 'prefill-weights',
    env: 'QUARTET_PREFILL_WEIGHTS',
    help: 'by which weights prompts are read on the CPU: stored, or f32, a copy that takes 4 bytes for each weight of the layers; by default f32 for q8 and q4 on a processor with AVX2 and without VNNI, where the copy takes at most 2 GiB and a quarter of the memory',
  },
  cudaGraphs: {
    flag: 'cuda-graphs',
    env: 'QUARTET_CUDA_GRAPHS',
    help: 'on: with cuda, decoding runs are captured once and repeated by the GPU; off: each of their kernels is launched anew',
  },
  queue: { flag: 'queue', env: 'QUARTET_QUEUE', help: 'requests that may wait' },
  tenantQueue: {
    flag: 'tenant-queue',
    env: 'QUARTET_TENANT_QUEUE',
    help: 'requests of one tenant that may wait; by default half of --queue',
  },
  adapterCacheBytes: {
    flag: 'adapter-cache-bytes',
    env: 'QUARTET_ADAPTER_CACHE_BYTES',
    help: 'memory for resident adapters',
  },
  adapterCacheCount: {
    flag: 'adapter-cache-count',
    env: 'QUARTET_ADAPTER_CACHE_COUNT',
    help: 'adapters that may be resident',
  },
  drainSeconds: {
    flag: 'drain-seconds',
    env: 'QUARTET_DRAIN_SECONDS',
    help: 'how long running requests may go on after SIGTERM',
  },
  edge: {
    flag: 'edge',
    env: 'QUARTET_EDGE_URL',
    help: 'edge whose fleet the node joins, like https://quartet.example.com; none without it',
  },
  advertise: {
    flag: 'advertise',
    env: 'QUARTET_NODE_URL',
    help: 'where edges reach the node; by default where it listens',
  },
  region: {
    flag: 'region',
    env: 'QUARTET_REGION',
    help: 'where the node is, like eu or eu-west; edges prefer their own',
  },
  nodeId: {
    flag: 'id',
    env: 'QUARTET_NODE_ID',
    help: 'name in the fleet, kept over restarts; by default host name and port',
  },
  logLevel: {
    flag: 'log-level',
    env: 'QUARTET_LOG_LEVEL',
    help: 'least level that is logged: debug, info, warn, error or off',
  },
  otlpEndpoint: {
    flag: 'otlp-endpoint',
    env: 'QUARTET_OTLP_ENDPOINT',
    help: 'OTLP/HTTP receiver of traces, like http://collector:4318; none without it',
  },
  otlpHeaders: {
    env: 'QUARTET_OTLP_HEADERS',
    help: 'headers for it, a secret: authorization=Bearer%20…',
  },
  traceRatio: {
    flag: 'trace-ratio',
    env: 'QUARTET_TRACE_RATIO',
    help: 'share of the traces begun here that are recorded, 0 to 1 (default: 1)',
  },
  secret: { env: 'QUARTET_NODE_SECRET', help: 'what edges sign their calls with, at least 32 bytes' },
}

/** The settings as a text for `--help`. */
export function describeSettings(): string {
  const defaults: Readonly<Record<string, unknown>> = Settings.partial({ secret: true }).parse({})
  const lines = Object.entries(sources).map(([setting, { env, flag, help }]) => {
    const value = defaults[setting]
    const standard = value === undefined ? '' : ` (default: ${value})`
    return `  ${(flag === undefined ? '' : `--${flag}`).padEnd(23)}${env.padEnd(29)}${help}${standard}`
  })
  return ['Runs a Quartet node. Settings by flag, else by environment:', '', ...lines].join('\n')
}

/** Settings from flags, else the environment, else defaults. Throws `invalid_request` that names the setting. */
export function readConfig(
  args: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): NodeConfig {
  const parsed = Settings.safeParse(givenSettings(args, env))
  if (parsed.success) {
    const { otlpEndpoint, otlpHeaders, traceRatio, ...config } = parsed.data
    const telemetry = telemetrySettings({
      QUARTET_OTLP_ENDPOINT: otlpEndpoint,
      QUARTET_OTLP_HEADERS: otlpHeaders,
      QUARTET_TRACE_RATIO: traceRatio,
    })
    return { ...config, telemetry }
  }
  const issue = parsed.error.issues[0]
  const source = Object.entries(sources).find(([setting]) => setting === issue?.path[0])?.[1]
  const name = [source?.flag && `--${source.flag}`, source?.env].filter(Boolean).join(' or ')
  throw new QuartetError('invalid_request', `${name} ${issue?.message}`, { param: name })
}

/**
 * Reads the settings as unchecked text, first from the flags, then from the environment. Throws `invalid_request` for
 * an unknown flag.
 */
export function givenSettings(
  args: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): Readonly<Partial<Record<keyof Given, string>>> {
  const flags = parseFlags(args)
  const given = Object.entries(sources).flatMap(([setting, { env: variable, flag }]) => {
    const value = (flag === undefined ? undefined : flags[flag]) ?? (env[variable] || undefined)
    return value === undefined ? [] : [[setting, value] as const]
  })
  return Object.fromEntries(given)
}

function parseFlags(args: readonly string[]): Readonly<Record<string, string | undefined>> {
  const names = Object.values(sources).flatMap(({ flag }) => flag ?? [])
  try {
    const options = Object.fromEntries(names.map((name) => [name, { type: 'string' } as const]))
    return parseArgs({ args: [...args], options, strict: true }).values
  } catch (error) {
    const reason = error instanceof Error ? error.message.split('. ')[0] : String(error)
    throw new QuartetError('invalid_request', `${reason}; see --help`, { cause: error })
  }
}
