import { QuartetError } from '../../shared/errors.ts'
import { uploadMs } from '../directory/adapter-table.ts'
import { giveTurn, turnBytes } from './in-turns.ts'
import type { UploadProgress } from './upload-memory.ts'

/** How long an upload may take: it ends before it is given up, so that nothing is written after. */
export const maxUploadMs = 0.8 * uploadMs

/** An upload that is slower than this spends its patience … */
export const minBytesPerSecond = 16 * 1024
/** … which is so long at most: a pause of that length ends it. */
export const patienceMs = 20_000
const lookMs = 1_000

/**
 * An upload's bytes as they arrive. Throws `request_timeout` when they come too slowly or take too long, and
 * `client_closed_request` when the client cuts them off. Leaving early cancels the rest.
 */
export async function* arrivingChunks(
  body: ReadableStream<Uint8Array>,
  progress: Pick<UploadProgress, 'arrived'>,
): AsyncGenerator<Uint8Array, void> {
  // Into a buffer of our own: the runtime fills it with all that is there, where it else gives 4 KiB at a time, and the
  // work around a chunk costs more than that in it.
  const reader = body.getReader({ mode: 'byob' })
  using watch = new Watch()
  let sinceTurn = 0
  try {
    for (;;) {
      const { done, value } = await watch.waitFor(reader.read(new Uint8Array(turnBytes)).catch(cutOff))
      if (done) return
      watch.arrived(value.length)
      progress.arrived(value.length)
      yield value
      sinceTurn += value.length
      if (sinceTurn < turnBytes) continue
      sinceTurn = 0
      await giveTurn()
    }
  } finally {
    await reader.cancel().catch(() => undefined)
  }
}

/** Ends a wait for bytes that come too slowly. Only the time in which a reader waits counts. */
class Watch implements Disposable {
  readonly #deadline = Date.now() + maxUploadMs
  readonly #late = Promise.withResolvers<never>()
  #patienceMs = patienceMs
  #waitingSince: number | undefined
  #timer = setTimeout(() => this.#look(), lookMs)

  constructor() {
    this.#late.promise.catch(() => undefined)
  }

  async waitFor<T>(read: Promise<T>): Promise<T> {
    const since = Date.now()
    this.#waitingSince = since
    try {
      return await Promise.race([read, this.#late.promise])
    } finally {
      this.#waitingSince = undefined
      this.#patienceMs -= Date.now() - since
    }
  }

  arrived(bytes: number): void {
    this.#patienceMs = Math.min(patienceMs, this.#patienceMs + (1_000 * bytes) / minBytesPerSecond)
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer)
  }

  #look(): void {
    const now = Date.now()
    const waitedMs = this.#waitingSince === undefined ? 0 : now - this.#waitingSince
    if (now >= this.#deadline) this.#late.reject(tooLong())
    else if (waitedMs > 0 && waitedMs >= this.#patienceMs) this.#late.reject(tooSlow())
    else this.#timer = setTimeout(() => this.#look(), lookMs)
  }
}

const tooSlow = () =>
  new QuartetError(
    'request_timeout',
    `the file arrives too slowly: it must come at ${minBytesPerSecond / 1024} KiB a second or faster, without a pause of ${patienceMs / 1_000} seconds; send it again, whole`,
  )

const tooLong = () =>
  new QuartetError(
    'request_timeout',
    `the upload took longer than ${maxUploadMs / 60_000} minutes; send it again, over a faster connection`,
  )

function cutOff(cause: unknown): never {
  throw new QuartetError('client_closed_request', 'the upload was cut off; send the file again, whole', {
    cause,
  })
}
