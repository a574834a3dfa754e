import { QuartetError } from '../../shared/errors.ts'
import type { TenantId } from '../../shared/ids.ts'
import { maxUploadMs } from './arriving-chunks.ts'

/** Of the 128 MB that Workers give an isolate for everything. */
export const maxUploadMemoryBytes = 64 * 1024 * 1024
/** What one tenant may have of it, so that no tenant's uploads keep another's out. */
export const maxTenantUploadBytes = 20 * 1024 * 1024
const retryAfterSeconds = 5

interface Held {
  readonly tenant: TenantId
  readonly bytes: number
  readonly until: number
}

/** The memory that an isolate has for uploads on their way. */
export class UploadMemory {
  readonly #held = new Set<Held>()

  /**
   * Takes so many bytes for a tenant's upload, until it is disposed of. Throws `queue_full` when the tenant's other uploads
   * hold its share, or all tenants' hold everything. What is older than an upload may be counts no more: nobody gives
   * anything back for a request that the runtime ended.
   */
  take(tenant: TenantId, bytes: number): Disposable {
    const now = Date.now()
    for (const each of this.#held) if (each.until <= now) this.#held.delete(each)
    const own = this.#bytes((each) => each.tenant === tenant)
    if (own + bytes > maxTenantUploadBytes)
      throw new QuartetError(
        'queue_full',
        "as many of this tenant's uploads are on their way here as its share of the memory holds; let one end, then retry",
        { retryAfterSeconds },
      )
    if (this.#bytes(() => true) + bytes > maxUploadMemoryBytes)
      throw new QuartetError(
        'queue_full',
        'as many uploads as there is memory for are on their way here; retry after the time in Retry-After',
        { retryAfterSeconds },
      )
    const held: Held = { tenant, bytes, until: now + maxUploadMs }
    this.#held.add(held)
    return { [Symbol.dispose]: () => void this.#held.delete(held) }
  }

  #bytes(counts: (held: Held) => boolean): number {
    let sum = 0
    for (const held of this.#held) if (counts(held)) sum += held.bytes
    return sum
  }
}
