import type { AdapterKey, BackboneDigest } from '../../shared/ids.ts'
import { residentPrefix } from '../../shared/resident-adapters.ts'
import type { FleetNode } from '../fleet/nodes.ts'
import type { CircuitState } from './circuit-breaker.ts'
import { scorer } from './rendezvous.ts'

/** A request's needs of a node. */
export interface RouteRequest {
  readonly adapter: AdapterKey | null
  /**
   * The key that ranks nodes instead of the adapter: adapters of a tenant whose rows are late, or stand in front of a newest
   * turn, share the prompts that a node has read.
   */
  readonly home?: string | undefined
  readonly backbone: BackboneDigest
  /** Rows of KV cache that it sets aside (shared/kv-rows.ts). */
  readonly rows: number
  readonly promptTokens: number
  /** The edge's region; empty when unknown. */
  readonly region: string
}

/** This isolate's knowledge at the moment of the decision. */
export interface RouteView {
  readonly nodes: readonly FleetNode[]
  /** All requests at the node, of every isolate. */
  readonly load: (node: FleetNode) => number
  readonly circuit: (node: FleetNode) => CircuitState
  /** Whether a request of this many rows may fit into the node's cache, as far as is known. */
  readonly mayHold: (node: FleetNode, rows: number) => boolean
  /** Whether the isolate believes the node that it holds the adapter. */
  readonly believes: (node: FleetNode, adapter: AdapterKey) => boolean
  /** The share of all requests that ask for the adapter, 0 to 1. */
  readonly demand: (adapter: AdapterKey) => number
  /** Draws a number in [0, 1). */
  readonly random: () => number
}

/** A node takes up to this times its share of the load before an adapter moves on to the next (bounded load's c). */
export const loadBound = 1.25
/** An adapter that would be more than this part of a node's share of the load gets further nodes. */
const hotShare = 0.25
/** A batch this full costs little per request, so that nothing spreads below it. */
const unboundedShare = 0.25
/** The assumed value for a node that has not told its own. */
export const assumedMaxBatch = 16

interface Candidate {
  readonly node: FleetNode
  readonly load: number
  readonly maxBatch: number
  readonly near: boolean
  readonly hasRoom: boolean
  /** Its circuit is open, or the registry has lost it; 2 for both. */
  readonly troubles: number
  readonly score: number
}

/**
 * Where a request goes; undefined when no node serves the backbone.
 *
 * A tuned request goes by rendezvous hashing on tenant and adapter (where it has a `home`, on that) with bounded loads
 * (Mirrokni, Thorup and Zadimoghaddam, 2018): to the first node in the key's own order that has at most its share of
 * the load; a node that holds the adapter comes before one that does not. A hot adapter has as many homes, the first k
 * of its order, as its demand needs, and its requests spread over them: demand is known at once, where loads are as old
 * as a snapshot. An untuned request goes to the less loaded of two random nodes (Mitzenmacher, 2001).
 *
 * The edge's region comes first as long as it has room; nodes with an open circuit, and those that the registry has
 * lost, come last; a draining node, or one with another backbone, never.
 */
export function chooseNode(request: RouteRequest, view: RouteView): FleetNode | undefined {
  const candidates = candidatesFor(request, view)
  const sound = candidates.filter(({ troubles }) => troubles === 0)
  if (sound.length === 0) return best(candidates, byTroubles)?.node
  const near = sound.filter((candidate) => candidate.near)
  const far = sound.filter((candidate) => !candidate.near)
  const choice =
    amongThoseWithRoom(request, near, view) ??
    amongThoseWithRoom(request, far, view) ??
    best(near, byLoad) ??
    best(far, byLoad)
  return choice?.node
}

function amongThoseWithRoom(
  { adapter }: RouteRequest,
  group: readonly Candidate[],
  view: RouteView,
): Candidate | undefined {
  const roomy = group.filter(({ hasRoom }) => hasRoom)
  if (adapter === null) return lessLoadedOfTwo(roomy, view.random)
  const { maxBatch, load } = totalsOf(group)
  const share = Math.max(unboundedShare, load / maxBatch)
  const isWithin = (candidate: Candidate) =>
    candidate.load + 1 <= Math.ceil(boundOf(load, maxBatch) * candidate.maxBatch)
  const within = roomy.filter(isWithin)
  if (within.length === 0) return best(roomy, byLoad)

  const homes = Math.ceil((view.demand(adapter) * load) / (hotShare * share * (maxBatch / group.length)))
  if (homes > 1) {
    const first = roomy.toSorted(byScore).slice(0, homes).filter(isWithin)
    if (first.length > 0) return lessLoadedOfTwo(first, view.random)
  }
  const prefix = residentPrefix(adapter)
  const holders = within.filter(
    ({ node }) => node.report?.resident.has(prefix) === true && view.believes(node, adapter),
  )
  return best(holders, byScore) ?? best(within, byScore)
}

/** The load, as a share of the places, that one more request may bring a node to. */
const boundOf = (load: number, maxBatch: number) =>
  Math.max(unboundedShare, (loadBound * (load + 1)) / maxBatch)

const ratio = ({ maxBatch, load }: Candidate) => load / maxBatch
const byScore = (a: Candidate, b: Candidate) => b.score - a.score || (a.node.id < b.node.id ? -1 : 1)
const byTroubles = (a: Candidate, b: Candidate) => a.troubles - b.troubles || byScore(a, b)
const byLoad = (a: Candidate, b: Candidate) => ratio(a) - ratio(b) || byScore(a, b)

function best(candidates: readonly Candidate[], order: (a: Candidate, b: Candidate) => number) {
  let first = candidates[0]
  for (const candidate of candidates)
    if (first !== undefined && order(candidate, first) < 0) first = candidate
  return first
}

function lessLoadedOfTwo(candidates: readonly Candidate[], random: () => number): Candidate | undefined {
  const at = Math.floor(random() * candidates.length)
  const step = 1 + Math.floor(random() * (candidates.length - 1))
  const one = candidates[at]
  const other = candidates[(at + step) % candidates.length]
  if (one === undefined || other === undefined) return one
  return ratio(other) < ratio(one) ? other : one
}

function totalsOf(group: readonly Candidate[]): { load: number; maxBatch: number } {
  let load = 0
  let maxBatch = 0
  for (const candidate of group) {
    load += candidate.load
    maxBatch += candidate.maxBatch
  }
  return { load, maxBatch: Math.max(1, maxBatch) }
}

function candidatesFor(request: RouteRequest, { circuit, load, mayHold, nodes }: RouteView): Candidate[] {
  const serving = nodes.filter((node) => serves(node, request))
  const roomy = serving.filter((node) => mayHold(node, request.rows))
  const score = scorer(request.home ?? request.adapter ?? '')
  return (roomy.length > 0 ? roomy : serving).map((node) => {
    const { report } = node
    const maxBatch = report?.maxBatch ?? assumedMaxBatch
    const requests = load(node)
    return {
      node,
      load: requests,
      maxBatch,
      near: isNear(report?.region ?? '', request.region),
      troubles: (circuit(node) === 'open' ? 1 : 0) + (node.isLost === true ? 1 : 0),
      hasRoom: report === null || (requests < maxBatch && report.freeRows >= request.rows),
      score: score(node),
    }
  })
}

/** Whether a node takes such requests at all. */
export function serves({ report }: FleetNode, { backbone }: Pick<RouteRequest, 'backbone'>): boolean {
  return report === null || (!report.draining && report.backbone === backbone)
}

/** Whether a node has said that such a request fits into its cache when nothing else is there. */
export function isKnownToHold({ report }: FleetNode, { rows }: Pick<RouteRequest, 'rows'>): boolean {
  return report !== null && report.contextLength >= rows
}

/** The same region, or a part of it (`eu-west` of `eu`); where one of them is unknown, everything is near. */
function isNear(node: string, edge: string): boolean {
  return (
    node === '' || edge === '' || node === edge || node.startsWith(`${edge}-`) || edge.startsWith(`${node}-`)
  )
}
