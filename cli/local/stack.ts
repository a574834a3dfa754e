import { availableParallelism } from 'node:os'
import { setTimeout as delay } from 'node:timers/promises'
import type { Backbone } from '../../model/backbone/backbone-folder.ts'
import type { CacheType } from '../../model/runtime/cache-type.ts'
import type { PrefillWeights } from '../../model/runtime/prefill-weights.ts'
import { CliFailure } from '../command/failure.ts'
import { adminClient } from '../edge/admin-client.ts'
import type { Home } from './home.ts'
import { localHost } from './port.ts'
import type { LocalSecrets } from './secrets.ts'
import { type Service, startService } from './service.ts'
import { untilAnswers } from './until-answers.ts'

export interface StackOptions {
  readonly home: Home
  readonly edgePort: number
  /** The port of the first node; the others listen on the ports after it. */
  readonly nodePort: number
  /** 1 when absent. */
  readonly nodes?: number
  readonly secrets: LocalSecrets
  readonly backbone: Backbone
  /** How nodes store keys and values; their own setting when absent. */
  readonly cacheType?: CacheType | undefined
  /** By which weights nodes read prompts; their own setting when absent. */
  readonly prefillWeights?: PrefillWeights | undefined
  /** Gives up starting. */
  readonly signal: AbortSignal
  /** Called when a node ended by itself while others go on. */
  readonly nodeEnded?: (ended: {
    readonly node: LocalNode
    readonly failure: unknown
    readonly left: number
  }) => void
}

/** Nodes and an edge on this machine, each a process of its own. */
export interface LocalStack extends AsyncDisposable {
  readonly edge: string
  readonly nodes: readonly [LocalNode, ...LocalNode[]]
  /** Rejects when the edge or the last node ends; never resolves. */
  readonly failed: Promise<never>
  /** Ends all at once, without waiting for what they do. */
  kill(): void
}

export interface LocalNode {
  readonly id: string
  readonly url: string
}

const drainSeconds = 3
const nodeStopGraceMs = 6000
const edgeStopGraceMs = 3000
const trainerStopGraceMs = 10_000
const joinTimeoutMs = 30_000

/**
 * Starts all and returns once they answer and the nodes have joined; if one fails, all started processes are stopped.
 */
export async function startStack(options: StackOptions): Promise<LocalStack> {
  const edge = `http://${localHost}:${options.edgePort}`
  const nodes = localNodes(options)
  const nodeServices: Service[] = []
  const edgeServices: Service[] = []
  const stopping = new AbortController()
  const stop = async () => {
    stopping.abort()
    // Nodes first: they tell the edge what was used.
    for (const services of [nodeServices, edgeServices])
      await Promise.all(services.map((service) => service.stop()))
  }
  try {
    const started: StartedNode[] = []
    for (const node of nodes) {
      const service = await startNode(node, { ...options, edge, count: nodes.length })
      nodeServices.push(service)
      started.push({ node, service })
    }
    const edgeService = await startEdge(options)
    edgeServices.push(edgeService)
    const trainer = await startTrainer(options, { edge, nodes })
    edgeServices.unshift(trainer)
    const services = [...nodeServices, edgeService, trainer]
    const anyFailed = Promise.race(services.map(({ failed }) => failed))
    anyFailed.catch(() => undefined)
    const { signal } = options
    const ready = Promise.all([
      ...nodes.map(({ url }) => untilAnswers(`${url}/ready`, signal)),
      untilAnswers(`${edge}/health`, signal).then(() => untilJoined(nodes, { edge, ...options })),
    ])
    ready.catch(() => undefined)
    await Promise.race([anyFailed, ready])
    const failed = Promise.race([
      edgeService.failed,
      lastToFail(started, { ended: options.nodeEnded, stopping: stopping.signal }),
    ])
    failed.catch(() => undefined)
    return {
      edge,
      nodes,
      failed,
      kill: () => {
        for (const service of services) service.kill()
      },
      [Symbol.asyncDispose]: stop,
    }
  } catch (error) {
    await stop()
    throw error
  }
}

function localNodes({ nodePort, nodes = 1 }: StackOptions): LocalStack['nodes'] {
  const at = (index: number): LocalNode => ({
    id: `node-${index + 1}`,
    url: `http://${localHost}:${nodePort + index}`,
  })
  return [at(0), ...Array.from({ length: nodes - 1 }, (_, index) => at(index + 1))]
}

interface StartedNode {
  readonly node: LocalNode
  readonly service: Service
}

/** Rejects once every node has ended, with what happened to the last. */
export function lastToFail(
  nodes: readonly StartedNode[],
  { ended, stopping }: { ended: StackOptions['nodeEnded']; stopping: AbortSignal },
): Promise<never> {
  let left = nodes.length
  return new Promise((_resolve, reject) => {
    for (const { node, service } of nodes)
      service.failed.catch((failure: unknown) => {
        left -= 1
        if (left === 0) reject(failure)
        else if (!stopping.aborted) ended?.({ node, failure, left })
      })
  })
}

/** Resolves when the edge's registry has heard from every node. */
async function untilJoined(
  nodes: readonly LocalNode[],
  { edge, secrets, signal }: { edge: string; secrets: LocalSecrets; signal: AbortSignal },
): Promise<void> {
  const admin = adminClient({ edge, adminKey: secrets.adminKey })
  const deadline = Date.now() + joinTimeoutMs
  for (;;) {
    const fleet = await admin.fleet().catch(() => undefined)
    signal.throwIfAborted()
    const ready = new Set(fleet?.nodes.flatMap(({ state, url }) => (state === 'ready' ? url : [])))
    if (nodes.every(({ url }) => ready.has(url))) return
    if (Date.now() > deadline)
      throw new CliFailure('a node did not join the fleet', {
        remedy: 'see the logs under QUARTET_HOME/logs',
      })
    await delay(100)
  }
}

function startNode(
  { id, url }: LocalNode,
  {
    home,
    edge,
    secrets,
    backbone,
    cacheType,
    count,
    prefillWeights,
  }: StackOptions & { edge: string; count: number },
): Promise<Service> {
  const threads = Math.max(1, Math.floor(availableParallelism() / count))
  return startService({
    name: count === 1 ? 'node' : id,
    entry: new URL('../../gpu-node/main.ts', import.meta.url),
    home,
    stopGraceMs: nodeStopGraceMs,
    env: {
      QUARTET_NODE_PORT: new URL(url).port,
      QUARTET_NODE_HOST: localHost,
      QUARTET_NODE_URL: url,
      QUARTET_NODE_ID: id,
      QUARTET_REGION: '',
      QUARTET_EDGE_URL: edge,
      QUARTET_NODE_SECRET: secrets.nodeSecret,
      QUARTET_BACKBONE: backbone.folder,
      QUARTET_DRAIN_SECONDS: String(drainSeconds),
      ...(count === 1 ? {} : { QUARTET_THREADS: String(threads) }),
      ...(cacheType === undefined ? {} : { QUARTET_CACHE_TYPE: cacheType }),
      ...(prefillWeights && { QUARTET_PREFILL_WEIGHTS: prefillWeights }),
    },
  })
}

/** A quarter of the cores: answers that are served beside a job are to be little slower (`bench -- trainer`). */
const trainerThreads = String(Math.max(1, Math.floor(availableParallelism() / 4)))

/** One trainer, which leaves the processor to the nodes. */
function startTrainer(
  { home, secrets, backbone, prefillWeights }: StackOptions,
  { edge, nodes }: { edge: string; nodes: readonly LocalNode[] },
): Promise<Service> {
  return startService({
    name: 'trainer',
    entry: new URL('../trainer/trainer-process.ts', import.meta.url),
    home,
    stopGraceMs: trainerStopGraceMs,
    env: {
      QUARTET_TRAINER_ID: 'trainer-1',
      QUARTET_EDGE_URL: edge,
      QUARTET_NODE_SECRET: secrets.nodeSecret,
      QUARTET_BACKBONE: backbone.folder,
      QUARTET_TRAINER_THREADS: process.env.QUARTET_TRAINER_THREADS ?? trainerThreads,
      ...(prefillWeights && { QUARTET_PREFILL_WEIGHTS: prefillWeights }),
      QUARTET_TRAINER_BESIDE: process.env.QUARTET_TRAINER_BESIDE ?? JSON.stringify(nodes),
    },
  })
}

function startEdge({ home, edgePort, secrets }: StackOptions): Promise<Service> {
  return startService({
    name: 'edge',
    entry: new URL('./worker-process.ts', import.meta.url),
    home,
    stopGraceMs: edgeStopGraceMs,
    env: {
      QUARTET_EDGE_PORT: String(edgePort),
      QUARTET_EDGE_STATE: home.edgeState,
      QUARTET_NODES: '[]',
      QUARTET_NODE_SECRET: secrets.nodeSecret,
      QUARTET_ADMIN_KEY: secrets.adminKey,
      QUARTET_PRIVATE_WEBHOOKS: process.env.QUARTET_PRIVATE_WEBHOOKS ?? 'true',
    },
  })
}
