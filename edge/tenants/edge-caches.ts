import type { TextCodec } from '../tokenizer/text-codec.ts'
import type { BackboneRecord, KeyRecord, TenantRecord } from './records.ts'
import { RefreshingCache } from './refreshing-cache.ts'

/** How long an isolate may go on with a key or alias after it was revoked or moved in KV. */
export const maxStaleMs = 4_000

/** What an isolate remembers of KV. */
export class EdgeCaches {
  readonly keys = new RefreshingCache<KeyRecord>({ capacity: 10_000, maxMs: maxStaleMs })
  readonly tenants = new RefreshingCache<TenantRecord>({ capacity: 2_000, maxMs: maxStaleMs })
  readonly backbones = new RefreshingCache<BackboneRecord>({ capacity: 100, maxMs: maxStaleMs })
  readonly backboneLists = new RefreshingCache<readonly BackboneRecord[]>({ capacity: 1, maxMs: maxStaleMs })
  /** Parsed tokenizers by the SHA-256 of backbone record and tokenizer.json; immutable. */
  readonly codecs = new Map<string, TextCodec>()
}
