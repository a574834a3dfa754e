import { DurableObject } from 'cloudflare:workers'
import type { FleetResponse } from '../../shared/api/fleet.ts'
import { Heartbeat } from '../../shared/heartbeat.ts'
import { type Beat, type BeatOutcome, type KnownResidents, Roster, type RosterSnapshot } from './roster.ts'

const KnownNode = Heartbeat.omit({ settlements: true })

const schema = 'CREATE TABLE IF NOT EXISTS nodes (id TEXT PRIMARY KEY, status TEXT NOT NULL) STRICT'

const maxNodes = 4_096

export type HeartbeatOutcome = BeatOutcome | { readonly kind: 'another-epoch' } | { readonly kind: 'full' }

/**
 * The fleet's one registry: which nodes there are and how they do. It lives in memory. Storage holds only where nodes
 * are, written when a process joins and when it drains, so that a restart forgets no node and brings back none that has left:
 * each node's status comes again within a second.
 */
export class NodeRegistry extends DurableObject {
  /** Made at each start: a heartbeat signed for an earlier one is not taken (shared/heartbeat-token.ts). */
  readonly #epoch = crypto.randomUUID()
  readonly #startedAt = Date.now()
  readonly #roster = new Roster()
  readonly #sql: SqlStorage
  #known = 0

  constructor(ctx: DurableObjectState, env: Cloudflare.Env) {
    super(ctx, env)
    this.#sql = ctx.storage.sql
    this.#sql.exec(schema)
    for (const { status } of this.#sql.exec<{ status: string }>('SELECT status FROM nodes')) {
      this.#roster.remember(KnownNode.parse(JSON.parse(status)))
      this.#known += 1
    }
  }

  async heartbeat(
    status: Beat,
    epoch: string,
  ): Promise<{ readonly outcome: HeartbeatOutcome; readonly epoch: string }> {
    if (epoch !== this.#epoch) return { outcome: { kind: 'another-epoch' }, epoch: this.#epoch }
    this.#forget()
    if (this.#known >= maxNodes && !this.#isStored(status.node))
      return { outcome: { kind: 'full' }, epoch: this.#epoch }
    const outcome = this.#roster.beat(status)
    if (outcome.kind === 'accepted' && outcome.news !== 'none') this.#store(status)
    return { outcome, epoch: this.#epoch }
  }

  async snapshot(known: KnownResidents): Promise<RosterSnapshot> {
    return this.#roster.snapshot(known)
  }

  async fleet(): Promise<FleetResponse> {
    return { registryUpMs: Date.now() - this.#startedAt, nodes: this.#roster.summaries() }
  }

  #store(status: Beat): void {
    if (!this.#isStored(status.node)) this.#known += 1
    const kept = JSON.stringify({ ...status, resident: '' })
    this.#sql.exec('INSERT OR REPLACE INTO nodes VALUES (?, ?)', status.node, kept)
  }

  #isStored(node: string): boolean {
    return this.#sql.exec('SELECT 1 FROM nodes WHERE id = ?', node).toArray().length > 0
  }

  #forget(): void {
    for (const node of this.#roster.forget()) {
      this.#sql.exec('DELETE FROM nodes WHERE id = ?', node)
      this.#known -= 1
    }
  }
}
