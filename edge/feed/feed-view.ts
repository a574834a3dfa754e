import type { TenantId } from '../../shared/ids.ts'
import { SharedWork } from '../http/shared-work.ts'
import { within } from '../http/within.ts'
import type { KeyRecord } from '../store/records.ts'
import { type Change, type Changes, retentionMs } from './change-feed.ts'

/**
 * A request never goes by a view older than this: how long a revoked key, a suspended tenant or a moved alias lives on
 * at most, wherever KV stands.
 */
export const maxViewAgeMs = 4_500
/** A view older than this is renewed behind a request, so that a busy isolate never waits. */
const renewAfterMs = 2_500
/** A feed or a directory that does not answer for this long is taken for gone. */
const patienceMs = 1_500
/** After a failure requests go on without the feed for so long before one tries it again. */
const pauseMs = 1_000

/** Isolates whose requests come from many tenants remember what each tenant's own directory said. */
const maxVerdicts = 10_000

interface Asking {
  /** Keeps a call alive that outlasts the request that began it. */
  readonly background: (work: Promise<unknown>) => void
}

interface Feed extends Asking {
  readonly changes: (since: number | undefined) => Promise<Changes>
  /** Called with the changes, after the view knows them. */
  readonly onChanges: (changes: readonly Change[], missed: boolean) => void
}

interface Directory extends Asking {
  /** How the key and its tenant stand. */
  readonly verdict: () => Promise<readonly Change[]>
}

interface KeyVerdict {
  readonly changes: readonly Change[]
  /** When it was asked for. */
  readonly at: number
  readonly generation: number
}

/**
 * An isolate's view of the change feed: it says which records of KV and of the isolate's own memory must not be
 * believed.
 */
export class FeedView {
  readonly #polls = new SharedWork({ maxWaitMs: patienceMs })
  readonly #inquiries = new SharedWork({ maxWaitMs: patienceMs })
  readonly #keys = new Map<string, { readonly record: KeyRecord | null; readonly at: number }>()
  readonly #versions = new Map<TenantId, { readonly version: number; readonly at: number }>()
  readonly #verdicts = new Map<string, number>()
  #seq: number | undefined
  /** Counts expiries. An answer asked for before the last expiry is not new enough. */
  #generation = 0
  /** The view holds every change that was published before then. */
  #asOf = Number.NEGATIVE_INFINITY
  #failedAt = Number.NEGATIVE_INFINITY

  /** The feed's change of a key; undefined when the key has not changed lately, and KV may be believed. */
  key(sha256: string): { readonly record: KeyRecord | null } | undefined {
    return this.#keys.get(sha256)
  }

  /** The least version that a tenant's record must have to be believed. */
  version(id: TenantId): number {
    return this.#versions.get(id)?.version ?? 0
  }

  /**
   * Makes sure that the view is young enough. False when it is not and the feed cannot be reached: then nothing
   * may be believed without asking the tenant's directory.
   */
  async renew(feed: Feed): Promise<boolean> {
    const now = Date.now()
    const age = now - this.#asOf
    const isPaused = now - this.#failedAt < pauseMs
    if (age < maxViewAgeMs) {
      if (age >= renewAfterMs && !isPaused && !this.#polls.isRunning(this.#pollName))
        feed.background(this.#poll(feed).catch(() => undefined))
      return true
    }
    if (isPaused) return false
    return this.#poll(feed).then(
      () => true,
      () => false,
    )
  }

  /** The next request sees what was changed until now. */
  expire(): void {
    this.#generation += 1
    this.#asOf = Number.NEGATIVE_INFINITY
    this.#verdicts.clear()
  }

  /**
   * Asks the tenant's directory of a key, where no view of the feed counts; its answer counts for as long as a view
   * would. Throws when the directory does not answer.
   */
  async inquire(sha256: string, { background, verdict }: Directory): Promise<void> {
    if (this.#isVouchedFor(sha256)) return
    const generation = this.#generation
    const run = async () => {
      const at = Date.now()
      const changes = await inTime(verdict(), "the tenant's directory")
      this.#believe(sha256, { changes, at, generation })
    }
    await this.#inquiries.join(`${generation} ${sha256}`, { background, run })
  }

  /** Whether a directory vouched for the key lately. */
  #isVouchedFor(sha256: string): boolean {
    return Date.now() - (this.#verdicts.get(sha256) ?? Number.NEGATIVE_INFINITY) < maxViewAgeMs
  }

  /** A verdict may be slow. Anything learned of the key after the question was asked stays. */
  #believe(sha256: string, { at, changes, generation }: KeyVerdict): void {
    const knownAt = this.#keys.get(sha256)?.at ?? Number.NEGATIVE_INFINITY
    this.#apply(changes.filter(({ kind }) => kind === 'tenant' || knownAt < at))
    if (knownAt >= at || generation !== this.#generation) return
    this.#verdicts.delete(sha256)
    this.#verdicts.set(sha256, at)
    const oldest = this.#verdicts.size > maxVerdicts ? this.#verdicts.keys().next().value : undefined
    if (oldest !== undefined) this.#verdicts.delete(oldest)
  }

  get #pollName(): string {
    return `poll ${this.#generation}`
  }

  #poll(feed: Feed): Promise<void> {
    return this.#polls.join(this.#pollName, { background: feed.background, run: () => this.#read(feed) })
  }

  async #read({ changes, onChanges }: Feed): Promise<void> {
    const startedAt = Date.now()
    const generation = this.#generation
    try {
      for (let more = true; more; ) {
        const page = await inTime(changes(this.#seq), 'the change feed')
        more = page.more
        // A slower poll than another brings what is known, or was overtaken.
        if (this.#seq !== undefined && page.seq <= this.#seq) continue
        this.#seq = page.seq
        this.#apply(page.changes)
        onChanges(page.changes, page.missed)
      }
    } catch (cause) {
      this.#failedAt = Date.now()
      throw cause
    }
    if (generation === this.#generation) this.#asOf = Math.max(this.#asOf, startedAt)
    this.#forget()
  }

  #apply(changes: readonly Change[]): void {
    const at = Date.now()
    for (const change of changes) {
      if (change.kind === 'key') {
        this.#keys.delete(change.id)
        this.#keys.set(change.id, { record: change.record, at })
      } else {
        const version = Math.max(change.version, this.version(change.id))
        this.#versions.delete(change.id)
        this.#versions.set(change.id, { version, at })
      }
    }
  }

  #forget(): void {
    const before = Date.now() - retentionMs
    forgetBefore(this.#keys, before)
    forgetBefore(this.#versions, before)
  }
}

/** Entries stand in the order in which they were last set. */
function forgetBefore<K>(map: Map<K, { readonly at: number }>, before: number): void {
  for (const [key, { at }] of map) {
    if (at >= before) return
    map.delete(key)
  }
}

function inTime<T>(work: Promise<T>, whose: string): Promise<T> {
  return within(patienceMs, {
    work,
    late: () => {
      throw new Error(`${whose} does not answer`)
    },
  })
}
