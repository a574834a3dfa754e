import { within } from './within.ts'

interface Work {
  readonly run: () => Promise<void>
  /** Keeps it going when the request that began it is gone: others wait for it. */
  readonly background: (work: Promise<unknown>) => void
}

/** Work that requests want at once is done once; whoever waited too long for another's, or in vain, does its own. */
export class SharedWork {
  readonly #running = new Map<string, Promise<void>>()
  readonly #maxWaitMs: number

  constructor({ maxWaitMs }: { maxWaitMs: number }) {
    this.#maxWaitMs = maxWaitMs
  }

  isRunning(key: string): boolean {
    return this.#running.has(key)
  }

  async join(key: string, { background, run }: Work): Promise<void> {
    const running = this.#running.get(key)
    if (running !== undefined && (await this.#succeedsInTime(running))) return
    const own = run().finally(() => {
      if (this.#running.get(key) === own) this.#running.delete(key)
    })
    this.#running.set(key, own)
    background(own.catch(() => undefined))
    await own
  }

  /** Another request's failure is not this request's. */
  async #succeedsInTime(running: Promise<void>): Promise<boolean> {
    const work = running.then(
      () => true,
      () => false,
    )
    return within(this.#maxWaitMs, { work, late: () => false })
  }
}
