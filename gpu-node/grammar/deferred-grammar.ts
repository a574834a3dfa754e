import type { GrammarSession } from './grammar-session.ts'

type Session = Pick<GrammarSession, 'mask' | 'forced' | 'status' | 'accept' | 'settled' | 'close'>

/** A grammar of what follows the first of some tokens; any token may come until then. */
export class DeferredGrammar implements Session {
  readonly #session: Session
  readonly #after: ReadonlySet<number>
  /** All tokens until it begins; then those of the session, as of when `status` was last asked. */
  readonly mask: Int32Array
  #isBegun = false

  constructor(session: Session, after: readonly number[]) {
    this.#session = session
    this.#after = new Set(after)
    this.mask = new Int32Array(session.mask.length).fill(-1)
  }

  get status(): Session['status'] {
    if (!this.#isBegun) return this.#session.status === 'failed' ? 'failed' : 'open'
    const { status } = this.#session
    if (status === 'open') this.mask.set(this.#session.mask)
    return status
  }

  get forced(): readonly number[] {
    return this.#isBegun ? this.#session.forced : []
  }

  accept(token: number): void {
    if (this.#isBegun) this.#session.accept(token)
    else this.#isBegun = this.#after.has(token)
  }

  settled(ms: number): Promise<void> {
    return this.#session.settled(ms)
  }

  close(): void {
    this.#session.close()
  }
}
