import type { GenerateEvent } from '../../shared/wire.ts'

type Piece = readonly GenerateEvent[]

/**
 * One request's events on their way to its one reader. Writing never waits: unread events pile up. They are bounded
 * because a request has at most `maxTokens` events, those of its prompt and one end. The reader takes all waiting
 * events in one piece.
 */
export class SequenceEvents implements AsyncIterableIterator<Piece> {
  #unread: GenerateEvent[] = []
  #over = false
  #reader: ((result: IteratorResult<Piece>) => void) | undefined
  readonly #abandon: () => void

  /** `abandon` is called when the reader stops before the end. */
  constructor(abandon: () => void) {
    this.#abandon = abandon
  }

  push(event: GenerateEvent): void {
    if (this.#over) return
    this.#unread.push(event)
    // In the loop's next turn: all events of one step are one piece, and they are written while the next one runs.
    if (this.#reader !== undefined) setImmediate(() => this.#deliver())
  }

  /** The last event. */
  end(event: GenerateEvent): void {
    this.push(event)
    this.#over = true
  }

  next(): Promise<IteratorResult<Piece>> {
    return new Promise((resolve) => {
      this.#reader = resolve
      this.#deliver()
    })
  }

  /** The reader leaves. */
  return(): Promise<IteratorResult<Piece>> {
    if (!this.#over) this.#abandon()
    this.#over = true
    this.#unread = []
    this.#deliver()
    return Promise.resolve({ done: true, value: undefined })
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  #deliver(): void {
    const reader = this.#reader
    if (reader === undefined || (this.#unread.length === 0 && !this.#over)) return
    const piece = this.#unread
    this.#unread = []
    this.#reader = undefined
    reader(piece.length > 0 ? { done: false, value: piece } : { done: true, value: undefined })
  }
}
