import { createHash } from 'node:crypto'
import { Roster } from '../../edge/fleet/roster.ts'
import { type FirstAnswerSource, firstAnswer } from '../../edge/routing/first-answer.ts'
import { NodeFailure } from '../../edge/routing/node-failures.ts'
import { heartbeatMs } from '../../shared/heartbeat.ts'
import { AdapterDigest, type AdapterKey, adapterKey, TenantId } from '../../shared/ids.ts'
import type { GenerateEvent } from '../../shared/wire.ts'
import { EventQueue } from './event-queue.ts'
import type { Isolate, IsolateOptions, NodeChoices } from './isolates.ts'
import { Measure, type RoutingOutcome } from './measure.ts'
import { Popularity } from './popularity.ts'
import { exponential, seededRandom } from './random.ts'
import { SimulatedNode } from './simulated-node.ts'

export const scenario = {
  nodes: 64,
  isolates: 8,
  adapters: 10_000,
  exponent: 1.1,
  /** Sequences at once, at each node. */
  maxBatch: 32,
  queue: 256,
  /** Adapters that a node holds. */
  adaptersPerNode: 64,
  /** Share of the fleet's batch places that the load fills. */
  utilisation: 0.65,
  /** A hundred tokens at 50 ms, about what the engine takes at this batch. */
  meanDecodeMs: 5_000,
  snapshotMs: 2_000,
  killEveryMs: 60_000,
  downMs: 30_000,
  /** How often some node stalls for `stallMs`; never in the fleet of the table. */
  stallEveryMs: null,
  stallMs: 2_000,
  warmUpMs: 60_000,
  measuredMs: 180_000,
  seed: 7,
} as const

/** Busy time of a batch place per request: prefill and decode. */
const serviceMs = 60 + scenario.meanDecodeMs

const popularity = new Popularity({ count: scenario.adapters, exponent: scenario.exponent })

/**
 * The best hit rate that a cache of the fleet's size can have when requests are independent: it always holds the most
 * popular adapters, each once, and no node ever dies.
 */
export const bestHitRate = popularity.shareOfTop(scenario.nodes * scenario.adaptersPerNode)

const tenant = TenantId.parse('simulated')
const adapters = Array.from({ length: scenario.adapters }, (_, at) =>
  adapterKey(tenant, AdapterDigest.parse(createHash('sha256').update(String(at)).digest('hex'))),
)

interface Scale {
  readonly isolates: number
  readonly stallEveryMs: number | null
  readonly warmUpMs: number
  readonly measuredMs: number
}

/** Runs the scenario in virtual time with the isolates that `makeIsolate` makes. */
export async function simulate(
  makeIsolate: (options: IsolateOptions) => Isolate,
  { isolates: isolateCount, measuredMs, stallEveryMs, warmUpMs }: Scale = scenario,
): Promise<RoutingOutcome> {
  const start = 1_800_000_000_000
  const events = new EventQueue(start)
  const random = seededRandom(scenario.seed)
  const limits = {
    maxBatch: scenario.maxBatch,
    queue: scenario.queue,
    adapters: scenario.adaptersPerNode,
  }
  const nodes = Array.from({ length: scenario.nodes }, (_, at) => new SimulatedNode(at, { events, limits }))
  const nodesById = new Map<string, SimulatedNode>(nodes.map((node) => [node.id, node]))
  const roster = new Roster(events.now)
  const isolates = Array.from({ length: isolateCount }, (_, at) =>
    makeIsolate({ now: events.now, random: seededRandom(scenario.seed + 1 + at) }),
  )
  const measure = new Measure(start + warmUpMs, events.now)

  const every = (ms: number, offset: number, run: () => void) => {
    const again = () => {
      run()
      events.after(ms, again)
    }
    events.after(offset, again)
  }
  for (const node of nodes) {
    roster.beat(node.status)
    every(heartbeatMs, random() * heartbeatMs, () => {
      if (node.alive) roster.beat(node.status)
    })
  }
  for (const isolate of isolates) {
    isolate.refresh(roster)
    every(scenario.snapshotMs, random() * scenario.snapshotMs, () => isolate.refresh(roster))
  }
  every(scenario.killEveryMs, scenario.killEveryMs, () => {
    const victim = nodes[Math.floor(random() * nodes.length)]
    victim?.kill()
    events.after(scenario.downMs, () => victim?.restart())
  })
  if (stallEveryMs !== null)
    every(stallEveryMs, stallEveryMs, () =>
      nodes[Math.floor(random() * nodes.length)]?.stall(scenario.stallMs),
    )
  every(1_000, 1_000, () =>
    measure.sampled(nodes.flatMap((node) => (node.alive ? node.load / scenario.maxBatch : []))),
  )

  const perMs = (scenario.nodes * scenario.maxBatch * scenario.utilisation) / serviceMs
  const failures: unknown[] = []
  const arrive = () => {
    const isolate = isolates[Math.floor(random() * isolates.length)]
    const adapter = adapters[popularity.pick(random())]
    const decodeMs = exponential(scenario.meanDecodeMs, random)
    if (isolate !== undefined && adapter !== undefined)
      request({ adapter, decodeMs, isolate }, { events, measure, nodesById }).catch((thrown: unknown) => {
        failures.push(thrown)
      })
    events.after(exponential(1 / perMs, random), arrive)
  }
  arrive()
  await events.runUntil(start + warmUpMs + measuredMs)
  if (failures.length > 0) throw new AggregateError(failures, 'the simulation is wrong')
  return measure.outcome()
}

interface Asked {
  readonly adapter: AdapterKey
  readonly decodeMs: number
  readonly isolate: Isolate
}

interface World {
  readonly events: EventQueue
  readonly nodesById: ReadonlyMap<string, SimulatedNode>
  readonly measure: Measure
}

/** One request on its way: the product's own first-answer.ts, in virtual time. */
async function request({ adapter, decodeMs, isolate }: Asked, world: World): Promise<void> {
  const { events, measure } = world
  const startedAt = events.now()
  const route = isolate.route(adapter)
  measure.arrived()
  const hedge: NodeChoices['hedge'] = (nodes) => {
    const attempt = route.hedge(nodes)
    if (attempt !== undefined) measure.hedged()
    return attempt
  }
  const next: NodeChoices['next'] = (nodes, failed) => {
    const attempt = route.next(nodes, failed)
    if (attempt !== undefined) measure.retried()
    return attempt
  }
  const source: FirstAnswerSource = {
    dispatch: {
      first: (nodes) => route.first(nodes),
      next,
      learn: (failed) => route.learn(failed),
      hedge,
      hasAnother: (nodes) => route.hasAnother(nodes),
      hedgeAfterMs: route.hedgeAfterMs,
    },
    nodes: async () => isolate.nodes,
    open: ({ node }, signal) => open(node.id, { adapter, decodeMs, signal }, world),
    failed: () => {},
    signal: new AbortController().signal,
    clock: events,
  }
  const answer = await firstAnswer(source).catch(() => undefined)
  if (answer === undefined) {
    measure.lost()
    return
  }
  measure.answered(events.now() - startedAt)
  try {
    for await (const _ of answer.events);
  } catch {
    measure.broke()
  }
}

/** Calls a simulated node; resolves with its first token. */
function open(
  nodeId: string,
  { adapter, decodeMs, signal }: { adapter: AdapterKey; decodeMs: number; signal: AbortSignal },
  { measure, nodesById }: World,
): ReturnType<FirstAnswerSource['open']> {
  const first = Promise.withResolvers<Awaited<ReturnType<FirstAnswerSource['open']>>>()
  const whole = Promise.withResolvers<void>()
  whole.promise.catch(() => undefined)
  const broken = () => new NodeFailure('truncated', { message: `${nodeId} died` })
  const placed = nodesById.get(nodeId)?.submit({
    adapter,
    decodeMs,
    firstToken: () => first.resolve(until(whole.promise)),
    finished: whole.resolve,
    died: (started) => (started ? whole.reject(broken()) : first.reject(broken())),
  })
  if (placed === undefined || typeof placed === 'string') {
    const reason = placed ?? 'unreachable'
    first.reject(new NodeFailure(reason, { message: `${nodeId}: ${reason}` }))
    return first.promise
  }
  measure.placed(placed.hit)
  signal.addEventListener('abort', placed.cancel, { once: true })
  return first.promise
}

async function* until(end: Promise<void>): AsyncGenerator<readonly GenerateEvent[], void> {
  yield [{ type: 'token', id: 0 }]
  await end
}
