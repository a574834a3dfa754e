import { within } from './within.ts'

interface Work {
  readonly run: () => Promise<void>
  /** Keeps it going when the request that began it is gone: others wait for it. */
  readonly background: (work: Promise<unknown>) => void
}

/**
 * Work that several requests need at once is done once, and fails once: all that waited get the failure rather
 * than trying it again. Work that does not end in `maxWaitMs` is taken for lost with the request that began it; one of
 * the waiting requests does it again.
 */
export class SharedWork {
  readonly #running = new Map<string, Promise<void>>()
  readonly #maxWaitMs: number

  constructor({ maxWaitMs }: { maxWaitMs: number }) {
    this.#maxWaitMs = maxWaitMs
  }

  isRunning(key: string): boolean {
    return this.#running.has(key)
  }

  /** Throws what the work throws. */
  async join(key: string, { background, run }: Work): Promise<void> {
    let lost: Promise<void> | undefined
    for (;;) {
      const running = this.#running.get(key)
      if (running === undefined || running === lost) break
      if (await this.#endsInTime(running)) return
      lost = running
    }
    const own = run().finally(() => {
      if (this.#running.get(key) === own) this.#running.delete(key)
    })
    this.#running.set(key, own)
    background(own.catch(() => undefined))
    await own
  }

  #endsInTime(running: Promise<void>): Promise<boolean> {
    return within(this.#maxWaitMs, { work: running.then(() => true), late: () => false })
  }
}
