import { QuartetError } from '../../shared/errors.ts'
import type { TenantId } from '../../shared/ids.ts'
import { maxUploadMs, minBytesPerSecond, patienceMs } from './arriving-chunks.ts'

/** A part of the 128 MB that Workers give an isolate for everything. */
export const maxUploadMemoryBytes = 64 * 1024 * 1024
/** One tenant's part of it at most, so that no tenant's uploads keep another's out. */
export const maxTenantUploadBytes = 20 * 1024 * 1024
/** An upload whose bytes are all there is still written down and made known. */
const completionMs = 1_000

interface Held {
  readonly tenant: TenantId
  readonly bytes: number
  readonly progress: UploadProgress
  readonly until: number
}

/** How far an upload is, and so how long it still takes. */
export class UploadProgress {
  readonly #bytes: number
  readonly #startedAt = Date.now()
  #arrived = 0

  /** Starts the progress of an upload of `bytes` bytes now. */
  constructor(bytes: number) {
    this.#bytes = bytes
  }

  arrived(bytes: number): void {
    this.#arrived += bytes
  }

  /** Milliseconds until it has ended at its own pace. One that is slower than uploads may be is cut off. */
  leftMs(now: number): number {
    const elapsedMs = now - this.#startedAt
    const latestMs = Math.max(0, maxUploadMs - elapsedMs)
    if (this.#arrived === 0) return Math.min(latestMs, Math.max(0, patienceMs - elapsedMs) + completionMs)
    const perMs = Math.max(minBytesPerSecond / 1_000, this.#arrived / Math.max(1, elapsedMs))
    return Math.min(latestMs, Math.max(0, this.#bytes - this.#arrived) / perMs + completionMs)
  }
}

/** The memory that an isolate has for uploads on their way. */
export class UploadMemory {
  readonly #held = new Set<Held>()

  /**
   * Takes memory for a tenant's upload, until it is disposed of. Throws `queue_full` when the tenant's other uploads
   * hold its share, or all tenants' hold everything, with the time in which enough of them end at the pace they have
   * had. Memory held longer than an upload may take counts no more: nobody gives anything back for a request that the
   * runtime ended.
   */
  take(tenant: TenantId, bytes: number, progress: UploadProgress): Disposable {
    const now = Date.now()
    for (const each of this.#held) if (each.until <= now) this.#held.delete(each)
    const others = [...this.#held].filter((each) => each.progress !== progress)
    const own = others.filter((each) => each.tenant === tenant)
    const tooMuch = {
      ofTenant: this.#bytes((each) => each.tenant === tenant) + bytes - maxTenantUploadBytes,
      ofAll: this.#bytes(() => true) + bytes - maxUploadMemoryBytes,
    }
    if (tooMuch.ofTenant > 0 || tooMuch.ofAll > 0)
      throw new QuartetError(
        'queue_full',
        tooMuch.ofTenant > 0
          ? "as many of this tenant's uploads are on their way here as its share of the memory holds; let one end, then retry"
          : 'as many uploads as there is memory for are on their way here; retry after the time in Retry-After',
        {
          retryAfterSeconds: Math.max(
            secondsUntil(own, tooMuch.ofTenant, now),
            secondsUntil(others, tooMuch.ofAll, now),
          ),
        },
      )
    const held: Held = { tenant, bytes, progress, until: now + maxUploadMs }
    this.#held.add(held)
    return { [Symbol.dispose]: () => void this.#held.delete(held) }
  }

  #bytes(counts: (held: Held) => boolean): number {
    let sum = 0
    for (const held of this.#held) if (counts(held)) sum += held.bytes
    return sum
  }
}

/** When the uploads that end first have given this many bytes back. */
function secondsUntil(held: readonly Held[], bytes: number, now: number): number {
  let free = 0
  let waitMs = 0
  const ends = held.map((each) => ({ bytes: each.bytes, ms: each.progress.leftMs(now) }))
  for (const each of ends.toSorted((a, b) => a.ms - b.ms)) {
    if (free >= bytes) break
    free += each.bytes
    waitMs = each.ms
  }
  return Math.max(1, Math.ceil(waitMs / 1_000))
}
