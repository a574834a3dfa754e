import type { Thread } from './grammars.ts'
import { stateBytes, stateLayout, statuses } from './messages.ts'

interface GrammarSessionOptions {
  readonly thread: Pick<Thread, 'tell' | 'follow' | 'leave'>
  readonly hash: string
  readonly id: number
  readonly vocab: number
  readonly stopTokens: readonly number[]
}

/** One text that follows a grammar: which tokens may come next. The thread works the mask out while the model runs. */
export class GrammarSession {
  readonly #thread: GrammarSessionOptions['thread']
  readonly #id: number
  readonly #state: Int32Array<SharedArrayBuffer>
  /** A bit per token, set where it may come next; only while `status` is open. */
  readonly mask: Int32Array
  #asked = 1
  #isFailed = false

  constructor({ hash, id, stopTokens, thread, vocab }: GrammarSessionOptions) {
    const state = new SharedArrayBuffer(stateBytes(vocab))
    this.#thread = thread
    this.#id = id
    this.#state = new Int32Array(state)
    this.mask = this.#state.subarray(stateLayout.mask)
    thread.follow(this)
    thread.tell({ type: 'open', session: id, hash, state, stopTokens })
  }

  /** `waiting` until the mask for the next token is there. */
  get status(): 'waiting' | 'open' | 'complete' | 'failed' {
    if (this.#isFailed) return 'failed'
    if (Atomics.load(this.#state, stateLayout.version) < this.#asked) return 'waiting'
    const status = Atomics.load(this.#state, stateLayout.status)
    return status === statuses.open ? 'open' : status === statuses.complete ? 'complete' : 'failed'
  }

  accept(token: number): void {
    this.#asked += 1
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
