import type { FleetNodeSummary, NodeState } from '../../shared/api/fleet.ts'
import { type Heartbeat, type NodeId, type NodeStatus, nodeLostMs } from '../../shared/heartbeat.ts'
import { residentCount } from '../../shared/resident-adapters.ts'

/** A node's status, and its place among those of the node. */
export type Beat = Omit<Heartbeat, 'settlements'>

/** A node as an isolate must know it in order to route. */
export interface NodeSighting {
  readonly status: Omit<Beat, 'resident' | 'rates'>
  /** The version of the node's list of residents. */
  readonly residentVersion: number
  /** Milliseconds since the registry heard it. */
  readonly ageMs: number
  /** Absent where the isolate has this version already. */
  readonly resident?: string
}

export interface RosterSnapshot {
  /** Nodes heard of within `nodeLostMs`, draining ones included, by id. */
  readonly nodes: readonly NodeSighting[]
  /** Nodes that were heard of before and are silent now, unless they had said that they drain. */
  readonly lost: readonly NodeSighting[]
}

/** The versions of residents' lists that an isolate has, by node. */
export type KnownResidents = Readonly<Record<string, number>>

export type BeatOutcome =
  /** `news`: what a restart of the registry must not forget. */
  | { readonly kind: 'accepted'; readonly news: 'a process' | 'it drains' | 'none' }
  /** Sent before: an older number of the same process, or one that another process has replaced. */
  | { readonly kind: 'out-of-order' }
  | { readonly kind: 'replaced' }

interface Entry {
  readonly status: Beat
  /** The time by the registry's clock. */
  readonly heardAt: number
  /** False for what was remembered over a restart and not heard of since. */
  readonly heard: boolean
  readonly residentVersion: number
}

/** A lost node stays on display for this long. */
const forgottenMs = 10 * 60_000
/** A replaced process keeps being refused for this long after its last heartbeat. */
const replacedMs = 10 * 60_000

/**
 * The registry's memory: the last heartbeat of each node. Only the registry's own clock counts: a node is alive when
 * it was heard of, whatever its own clock says.
 */
export class Roster {
  readonly #now: () => number
  readonly #entries = new Map<NodeId, Entry>()
  /** Processes that another one of the same node id has replaced, and when they were last heard of. */
  readonly #replaced = new Map<string, number>()
  /** The last version. None is used twice, also over restarts, so that an isolate's list is never taken for another. */
  #versions: number

  constructor(now: () => number = Date.now) {
    this.#now = now
    this.#versions = now()
  }

  /** Puts back what was known before a restart: where nodes are and which drain, not how they do. Gives them `nodeLostMs` to speak. */
  remember(status: Beat): void {
    const unknown = { sequence: -1, running: 0, waiting: 0, resident: '' }
    this.#entries.set(status.node, {
      status: { ...status, ...unknown },
      heardAt: this.#now(),
      heard: false,
      residentVersion: ++this.#versions,
    })
  }

  beat(status: Beat): BeatOutcome {
    const now = this.#now()
    const process = `${status.node}/${status.instanceId}`
    if (this.#replaced.has(process)) {
      this.#replaced.set(process, now)
      return { kind: 'replaced' }
    }
    const last = this.#entries.get(status.node)
    const same = last?.status.instanceId === status.instanceId
    if (last !== undefined && same && status.sequence <= last.status.sequence) return { kind: 'out-of-order' }
    if (last !== undefined && !same) this.#replaced.set(`${status.node}/${last.status.instanceId}`, now)
    const unchanged = same && last.status.resident === status.resident
    this.#entries.set(status.node, {
      status,
      heardAt: now,
      heard: true,
      residentVersion: unchanged ? last.residentVersion : ++this.#versions,
    })
    if (!same) return { kind: 'accepted', news: 'a process' }
    return { kind: 'accepted', news: status.draining && !last.status.draining ? 'it drains' : 'none' }
  }

  snapshot(known: KnownResidents): RosterSnapshot {
    const now = this.#now()
    const sighting = (entry: Entry): NodeSighting => {
      const { heardAt, residentVersion } = entry
      const { rates: _, resident, ...status } = entry.status
      const isKnown = known[status.node] === residentVersion
      return { status, residentVersion, ageMs: now - heardAt, ...(isKnown ? {} : { resident }) }
    }
    const isAlive = ({ heardAt }: Entry) => now - heardAt < nodeLostMs
    const all = this.#sorted()
    return {
      nodes: all.filter(isAlive).map(sighting),
      lost: all.filter((entry) => !isAlive(entry) && !entry.status.draining).map(sighting),
    }
  }

  /** All nodes as people look at them, lost ones included. */
  summaries(): FleetNodeSummary[] {
    const now = this.#now()
    return this.#sorted().map(({ heard, heardAt, status }) => {
      const { draining: _, node, resident, sequence: __, url, ...report } = status
      return {
        id: node,
        url,
        state: stateOf(status, now - heardAt),
        report: heard ? { ...report, residentAdapters: residentCount(resident), ageMs: now - heardAt } : null,
      }
    })
  }

  /** Drops what has been silent for long. Returns the nodes dropped. */
  forget(): NodeId[] {
    const now = this.#now()
    for (const [process, heardAt] of this.#replaced)
      if (now - heardAt >= replacedMs) this.#replaced.delete(process)
    const silent = [...this.#entries].flatMap(([id, { heardAt }]) => (now - heardAt >= forgottenMs ? id : []))
    for (const id of silent) this.#entries.delete(id)
    return silent
  }

  #sorted(): Entry[] {
    return [...this.#entries.values()].sort((a, b) => (a.status.node < b.status.node ? -1 : 1))
  }
}

function stateOf({ draining, running, waiting }: NodeStatus, silentMs: number): NodeState {
  if (silentMs < nodeLostMs) return draining ? 'draining' : 'ready'
  return draining && running + waiting === 0 ? 'left' : 'lost'
}
