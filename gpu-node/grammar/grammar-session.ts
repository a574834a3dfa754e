import type { Thread } from './grammars.ts'
import { stateBytes, stateLayout, statuses } from './messages.ts'

const statusNames: Readonly<Record<number, 'open' | 'complete' | 'failed' | 'slow'>> = {
  [statuses.open]: 'open',
  [statuses.complete]: 'complete',
  [statuses.failed]: 'failed',
  [statuses.slow]: 'slow',
}

interface GrammarSessionOptions {
  readonly thread: Pick<Thread, 'tell' | 'follow' | 'leave'>
  readonly hash: string
  readonly id: number
  readonly vocab: number
  readonly stopTokens: readonly number[]
  readonly isSpelledFreely: boolean
}

/** One text that follows a grammar: which tokens may come next. The thread works the mask out while the model runs. */
export class GrammarSession {
  readonly #thread: GrammarSessionOptions['thread']
  readonly #id: number
  readonly #state: Int32Array<SharedArrayBuffer>
  /** A bit per token, set where it may come next: as of when `status` was last asked, and it was open. */
  readonly mask: Int32Array
  #asked = 1
  /** Forced tokens that the text has already. */
  #taken = 0
  #isFailed = false

  constructor({ hash, id, isSpelledFreely, stopTokens, thread, vocab }: GrammarSessionOptions) {
    const state = new SharedArrayBuffer(stateBytes(vocab))
    this.#thread = thread
    this.#id = id
    this.#state = new Int32Array(state)
    this.mask = new Int32Array(this.#state.length - stateLayout.mask)
    thread.follow(this)
    thread.tell({ type: 'open', session: id, hash, state, stopTokens, isSpelledFreely })
  }

  /** `waiting` until the mask for the next token is there; `slow` where it took longer than a node allows. */
  get status(): 'waiting' | 'open' | 'complete' | 'failed' | 'slow' {
    if (this.#isFailed) return 'failed'
    if (Atomics.load(this.#state, stateLayout.version) < this.#asked) return 'waiting'
    const [forced] = this.forced
    if (forced !== undefined) {
      this.mask.fill(0)
      this.mask[forced >>> 5] = 1 << (forced & 31)
      return 'open'
    }
    const status = Atomics.load(this.#state, stateLayout.status)
    if (status === statuses.open) this.mask.set(this.#state.subarray(stateLayout.mask))
    return statusNames[status] ?? 'failed'
  }

  /** The tokens that must come next, one behind the other, if any; only while `status` is open. */
  get forced(): readonly number[] {
    const count = this.#state[stateLayout.forcedCount] ?? 0
    return [...this.#state.subarray(stateLayout.forced + this.#taken, stateLayout.forced + count)]
  }

  /** The text has one more token: one that the mask allows, or the first forced one. */
  accept(token: number): void {
    if (this.forced.length > 0) {
      this.#taken += 1
      return
    }
    this.#asked += 1
    this.#taken = 0
    this.#thread.tell({ type: 'accept', session: this.#id, token })
  }

  /** Resolves when it no longer waits, or after `ms`. */
  async settled(ms: number): Promise<void> {
    const version = Atomics.load(this.#state, stateLayout.version)
    if (this.status !== 'waiting') return
    const { value } = Atomics.waitAsync(this.#state, stateLayout.version, version, ms)
    await value
  }

  fail(): void {
    this.#isFailed = true
    Atomics.notify(this.#state, stateLayout.version)
  }

  /** A second call does nothing. */
  close(): void {
    this.#thread.leave(this)
    this.#thread.tell({ type: 'close', session: this.#id })
  }
}
