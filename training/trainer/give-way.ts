import { setTimeout as delay } from 'node:timers/promises'
import type { Turns } from '../loss/onnx-loss-model.ts'

export interface GiveWayOptions {
  /** Whether others need the machine now. */
  readonly isBusy: () => Promise<boolean>
  /** Ends all waiting: the work at hand is then done at once. */
  readonly signal: AbortSignal
  /** Waits so many milliseconds. */
  readonly wait?: (ms: number) => Promise<unknown>
  /** Milliseconds that only grow. */
  readonly now?: () => number
}

const pollMs = 100
/** How long nobody needs the machine before work begins: between two answers a node has nothing to do for a moment. */
const quietMs = 500
/**
 * Work that waits for so many times its own length is done all the same. It takes then a thirtieth of the time, so that
 * 95 of 100 answers beside it are served without it.
 */
const patience = 30
/** The length of work of which none has been done yet. */
const expectedMs = 5_000

/**
 * Lets others go first on a machine: work begins when nobody has needed the machine for a while, ends when somebody does,
 * and is begun anew.
 */
export class GiveWay implements Turns {
  readonly #isBusy: () => Promise<boolean>
  readonly #signal: AbortSignal
  readonly #wait: (ms: number) => Promise<unknown>
  readonly #now: () => number
  /** Polls in a row that found nobody. */
  #quiet = 0
  #lastMs = expectedMs

  constructor({ isBusy, signal, wait = delay, now = () => performance.now() }: GiveWayOptions) {
    this.#isBusy = isBusy
    this.#signal = signal
    this.#wait = wait
    this.#now = now
  }

  async take<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    for (;;) {
      const isFree = await this.#untilFree()
      const end = new AbortController()
      const start = this.#now()
      const doing = work(end.signal)
      if (isFree) await this.#watch(doing, end)
      try {
        const done = await doing
        this.#lastMs = this.#now() - start
        return done
      } catch (thrown) {
        if (!end.signal.aborted) throw thrown
      }
    }
  }

  /** Whether the machine is free; false when the wait for that was long enough. */
  async #untilFree(): Promise<boolean> {
    const start = this.#now()
    while (this.#quiet * pollMs < quietMs) {
      if (this.#signal.aborted || this.#now() - start >= patience * this.#lastMs) return false
      await this.#poll()
    }
    return true
  }

  /** Ends the work when somebody needs the machine before it is done. */
  async #watch(doing: Promise<unknown>, end: AbortController): Promise<void> {
    let isDone = false
    const done = doing.then(
      () => {
        isDone = true
      },
      () => {
        isDone = true
      },
    )
    while (!isDone && !this.#signal.aborted) {
      await Promise.race([done, this.#poll()])
      if (this.#quiet > 0 || isDone) continue
      end.abort()
      return
    }
  }

  async #poll(): Promise<void> {
    await this.#wait(pollMs)
    this.#quiet = (await this.#isBusy()) ? 0 : this.#quiet + 1
  }
}
