import type { BackboneSlug, TenantId } from '../../shared/ids.ts'
import type { TextCodec } from '../../shared/tokenizer/text-codec.ts'
import type { AdaptersRecord, BackboneRecord, KeyRecord, TenantRecord } from '../store/records.ts'
import { RefreshingCache } from './refreshing-cache.ts'

/**
 * An isolate remembers records of tenants for so long. It hears of changes meanwhile from the change feed, which
 * remembers changes three times as long (feed/change-feed.ts).
 */
const rememberedMs = 5 * 60_000
/** Backbones are not in the feed. */
const maxBackboneAgeMs = 4_000
/** Backbones hardly ever change, and no request is served without them: while KV is away, the last read counts. */
const backbones = { maxMs: maxBackboneAgeMs, failingMs: 60 * 60_000 }

/**
 * Tenants and their aliases, one of which takes some 200 bytes; a tenant has 10,000 at most. The forms of its answers, of which
 * it may have 1 MiB, count as the aliases that would take their room.
 */
const maxNames = 60_000
const nameBytes = 200
/** Adapters in the lists of tenants, some 400 bytes each; a tenant has 10,000 at most. */
const maxListedAdapters = 30_000
/** Tenants whose names that are no backbone's are remembered, and names of one. */
const maxAskingTenants = 1_000
const maxAbsentNames = 100

/** An isolate's memory of KV: no tenant's part of it can fill the room of all. */
export class EdgeCaches {
  readonly keys = new RefreshingCache<KeyRecord>({ capacity: 20_000, maxMs: rememberedMs })
  readonly tenants = new RefreshingCache<TenantRecord>({
    capacity: maxNames,
    maxMs: rememberedMs,
    weigh: ({ aliases, forms }) =>
      1 + Object.keys(aliases).length + Math.ceil(JSON.stringify(forms).length / nameBytes),
  })
  readonly adapters = new RefreshingCache<AdaptersRecord>({
    capacity: maxListedAdapters,
    maxMs: rememberedMs,
    weigh: ({ adapters }) => 1 + adapters.length,
  })
  readonly backbones = new RefreshingCache<BackboneRecord>({ capacity: 1_000, ...backbones })
  readonly backboneLists = new RefreshingCache<readonly BackboneRecord[]>({ capacity: 1, ...backbones })
  /** Tokenizers by the SHA-256 of what is compiled; immutable. */
  readonly codecs = new Map<string, TextCodec>()
  readonly #absentBackbones = new Map<TenantId, RefreshingCache<true>>()

  /**
   * Names that no backbone has, among those that this tenant asked for: every alias's name is looked up, as a
   * backbone's goes before it. A tenant that asks for random names removes only its own entries.
   */
  absentBackbones(tenant: TenantId): RefreshingCache<true> {
    const names =
      this.#absentBackbones.get(tenant) ??
      new RefreshingCache<true>({ capacity: maxAbsentNames, ...backbones })
    this.#absentBackbones.delete(tenant)
    this.#absentBackbones.set(tenant, names)
    const [oldest] = this.#absentBackbones.size > maxAskingTenants ? this.#absentBackbones.keys() : []
    if (oldest !== undefined) this.#absentBackbones.delete(oldest)
    return names
  }

  /** A backbone was registered here: the next request reads it. */
  forgetBackbone(slug: BackboneSlug): void {
    this.backbones.delete(slug)
    this.backboneLists.clear()
    this.#absentBackbones.clear()
  }
}
