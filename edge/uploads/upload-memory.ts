import { QuartetError } from '../../shared/errors.ts'
import { maxUploadMs } from './chunks-in-time.ts'

/** Of the 128 MB that Workers give an isolate for everything. */
export const maxUploadMemoryBytes = 64 * 1024 * 1024
const retryAfterSeconds = 5

interface Held {
  readonly bytes: number
  readonly until: number
}

/** The memory that an isolate has for uploads on their way. */
export class UploadMemory {
  readonly #held = new Set<Held>()

  /**
   * Takes so many bytes for an upload, until it is disposed of. Throws `queue_full` when other uploads hold them. What
   * is older than an upload may be counts no more: of a request that the runtime ended nobody gives anything back.
   */
  take(bytes: number): Disposable {
    const now = Date.now()
    for (const each of this.#held) if (each.until <= now) this.#held.delete(each)
    const taken = [...this.#held].reduce((sum, each) => sum + each.bytes, bytes)
    if (taken > maxUploadMemoryBytes)
      throw new QuartetError(
        'queue_full',
        'as many uploads as there is memory for are on their way here; retry after the time in Retry-After',
        { retryAfterSeconds },
      )
    const own: Held = { bytes, until: now + maxUploadMs }
    this.#held.add(own)
    return { [Symbol.dispose]: () => void this.#held.delete(own) }
  }
}
