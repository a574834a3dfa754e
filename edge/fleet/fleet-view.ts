import type { Log } from '../../shared/log.ts'
import type { NodeAddress } from '../../shared/node-address.ts'
import { decodeResident } from '../../shared/resident-adapters.ts'
import { within } from '../http/within.ts'
import type { FleetNode } from './nodes.ts'
import type { KnownResidents, NodeSighting, RosterSnapshot } from './roster.ts'

/** A snapshot is never used at this age while the registry answers. */
export const maxSnapshotMs = 2_000
/** A snapshot of this age is renewed in the background of the request that uses it. */
const renewMs = 1_500
/** How long a request waits for the registry. */
const patienceMs = 1_000
/** After a registry that did not answer, requests do not wait for it for this long. */
const restMs = 1_000

export interface Fleet {
  /** Nodes that the registry hears of, and listed ones. */
  readonly nodes: readonly FleetNode[]
  /** Nodes that it no longer hears of: the last resort. */
  readonly lost: readonly FleetNode[]
  /**
   * Milliseconds since the snapshot was taken when that is more than it may be, as the registry does not answer; 0 when
   * it never has.
   */
  readonly staleMs: number | null
}

/** How the registry is asked, and who keeps a call alive that outlasts the request that began it. */
export interface RegistrySource {
  readonly load: (known: KnownResidents) => Promise<RosterSnapshot>
  readonly background: (work: Promise<unknown>) => void
}

interface Residents {
  readonly version: number
  readonly prefixes: ReadonlySet<string>
}

interface Snapshot {
  readonly nodes: readonly FleetNode[]
  readonly lost: readonly FleetNode[]
  readonly takenAt: number
}

export interface FleetViewOptions {
  /** Always there, whatever the registry says; a registered node of the same id or address takes its place. */
  readonly fixed: readonly NodeAddress[]
  readonly log: Log
  readonly now?: () => number
}

/**
 * One isolate's view of the fleet: the registry's snapshot, at most `maxSnapshotMs` old as long as the registry
 * answers. On a warm isolate no request waits for it. While the registry is down the last snapshot goes on being used,
 * and says so.
 */
export class FleetView {
  readonly fixed: readonly NodeAddress[]
  readonly #log: Log
  readonly #now: () => number
  #snapshot: Snapshot | undefined
  #residents = new Map<string, Residents>()
  #renewingSince: number | undefined
  #failedAt: number | undefined

  constructor({ fixed, log, now = Date.now }: FleetViewOptions) {
    this.fixed = fixed
    this.#log = log
    this.#now = now
  }

  async current(source: RegistrySource): Promise<Fleet> {
    const age = this.#age()
    if (age < renewMs) return this.#fleet()
    if (age < maxSnapshotMs || this.#isResting()) this.#renewBehind(source)
    else await this.#renew(source)
    return this.#fleet()
  }

  #age(): number {
    return this.#snapshot === undefined ? Number.POSITIVE_INFINITY : this.#now() - this.#snapshot.takenAt
  }

  #isResting(): boolean {
    return this.#failedAt !== undefined && this.#now() - this.#failedAt < restMs
  }

  #renewBehind(source: RegistrySource): void {
    const busy = this.#renewingSince !== undefined && this.#now() - this.#renewingSince < patienceMs
    if (!busy && !this.#isResting()) source.background(this.#renew(source))
  }

  /** Never throws: a registry that does not answer leaves the last snapshot in place. */
  async #renew(source: RegistrySource): Promise<void> {
    const takenAt = this.#now()
    this.#renewingSince = takenAt
    try {
      this.accept(await within(patienceMs, { work: source.load(this.known), late: silent }), takenAt)
      if (this.#failedAt !== undefined) this.#log('info', 'registry_back')
      this.#failedAt = undefined
    } catch (thrown) {
      if (this.#failedAt === undefined)
        this.#log('warn', 'registry_down', {
          reason: reasonOf(thrown),
          snapshotAgeMs: this.#snapshot === undefined ? null : this.#age(),
          nodes: this.#snapshot?.nodes.length ?? this.fixed.length,
        })
      this.#failedAt = this.#now()
    } finally {
      this.#renewingSince = undefined
    }
  }

  /** The lists of residents that need not be sent again. */
  get known(): KnownResidents {
    return Object.fromEntries([...this.#residents].map(([node, { version }]) => [node, version]))
  }

  /** The nodes that the last snapshot and the fixed list have, however old. */
  get nodes(): readonly FleetNode[] {
    return this.#snapshot?.nodes ?? this.fixed.map((node) => ({ ...node, report: null }))
  }

  /** Takes a snapshot that was asked for at `takenAt`, unless a later one is there. */
  accept({ lost, nodes }: RosterSnapshot, takenAt: number): void {
    if (this.#snapshot !== undefined && this.#snapshot.takenAt > takenAt) return
    const residents = new Map(
      [...nodes, ...lost].map((sighting) => [sighting.status.node, this.#residentsOf(sighting)]),
    )
    const toNode = ({ ageMs, status }: NodeSighting): FleetNode => {
      const { backbone, cacheRows, node, url, ...report } = status
      return {
        id: node,
        url,
        report: {
          ...report,
          backbone: backbone.digest,
          freeRows: cacheRows.free,
          resident: residents.get(node)?.prefixes ?? new Set(),
          reportedAt: takenAt - ageMs,
        },
      }
    }
    const registered = nodes.map(toNode)
    const replaced = new Set(registered.flatMap(({ id, url }) => [id, url]))
    const fixed = this.fixed.filter(({ id, url }) => !replaced.has(id) && !replaced.has(url))
    this.#residents = residents
    const all = [...registered, ...fixed.map((node) => ({ ...node, report: null }))]
    const present = new Set(all.flatMap(({ id, url }): string[] => [id, url]))
    this.#snapshot = {
      takenAt,
      nodes: all,
      lost: lost
        .map((sighting) => ({ ...toNode(sighting), isLost: true }))
        .filter(({ id, url }) => !present.has(id) && !present.has(url)),
    }
  }

  #residentsOf({ resident, residentVersion, status }: NodeSighting): Residents {
    const known = this.#residents.get(status.node)
    if (known !== undefined && known.version === residentVersion) return known
    return { version: residentVersion, prefixes: decodeResident(resident ?? '') }
  }

  #fleet(): Fleet {
    const age = this.#age()
    const staleMs = this.#snapshot === undefined ? 0 : age >= maxSnapshotMs ? age : null
    return { nodes: this.nodes, lost: this.#snapshot?.lost ?? [], staleMs }
  }
}

function silent(): never {
  throw new Error(`the registry did not answer within ${patienceMs} ms`)
}

/** The failure itself, where it was wrapped for clients. */
function reasonOf(thrown: unknown): string {
  if (!(thrown instanceof Error)) return String(thrown)
  return thrown.cause instanceof Error ? thrown.cause.message : thrown.message
}
