import type { TextCodec } from '../../shared/tokenizer/text-codec.ts'
import type { AdaptersRecord, BackboneRecord, KeyRecord, TenantRecord } from '../store/records.ts'
import { RefreshingCache } from './refreshing-cache.ts'

/**
 * How long an isolate remembers what it read of tenants. What changes meanwhile is told by the change feed, which
 * remembers changes three times as long (feed/change-feed.ts).
 */
const rememberedMs = 5 * 60_000
/** Backbones are not in the feed. */
const maxBackboneAgeMs = 4_000

/** What an isolate remembers of KV. */
export class EdgeCaches {
  readonly keys = new RefreshingCache<KeyRecord>({ capacity: 20_000, maxMs: rememberedMs })
  readonly tenants = new RefreshingCache<TenantRecord>({ capacity: 10_000, maxMs: rememberedMs })
  readonly adapters = new RefreshingCache<AdaptersRecord>({ capacity: 50, maxMs: rememberedMs })
  /** null: no backbone has the name. Every alias's name is looked up, as a backbone's goes before it. */
  readonly backbones = new RefreshingCache<BackboneRecord | null>({
    capacity: 10_000,
    maxMs: maxBackboneAgeMs,
  })
  readonly backboneLists = new RefreshingCache<readonly BackboneRecord[]>({
    capacity: 1,
    maxMs: maxBackboneAgeMs,
  })
  /** Tokenizers by the SHA-256 of what is compiled; immutable. */
  readonly codecs = new Map<string, TextCodec>()
}
