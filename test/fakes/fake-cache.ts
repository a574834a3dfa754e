import type { CacheSlot, KeptRows, TokenRange } from '../../model/runtime/backend.ts'
import type { FakeAdapter } from './fake-adapter.ts'

/** Holds the tokens themselves where a real slot holds their keys and values. */
export class FakeSlot implements CacheSlot {
  readonly rows: number
  readonly tokens: number[] = []
  adapter: FakeAdapter | undefined
  /** The number of tokens behind late rows. */
  tail: number | undefined
  /** The number of tokens in front of a newest turn with rows. */
  turn = 0
  readonly #free: (rows: number) => void
  #released = false

  constructor(rows: number, free: (rows: number) => void) {
    this.rows = rows
    this.#free = free
  }

  get length(): number {
    return this.tokens.length + (this.adapter?.rows ?? 0)
  }

  get released(): boolean {
    return this.#released
  }

  rewind(tokens: number): void {
    if (tokens > this.tokens.length) throw new Error('there are not that many tokens')
    this.tokens.splice(this.tokens.length - tokens)
  }

  release(): void {
    if (!this.#released) this.#free(this.rows)
    this.#released = true
  }
}

/** Tokens of a slot, kept for another one. */
export class FakeRows implements KeptRows {
  readonly tokens: readonly number[]
  /** Set with the token that the rows stand at. */
  readonly adapter: FakeAdapter | undefined
  readonly turn: number
  readonly #free: (bytes: number) => void
  #released = false

  constructor({
    adapter,
    free,
    tokens,
    turn,
  }: Pick<FakeRows, 'adapter' | 'tokens' | 'turn'> & { free: (bytes: number) => void }) {
    this.tokens = tokens
    this.turn = turn
    this.adapter = adapter
    this.#free = free
  }

  get bytes(): number {
    return this.tokens.length + (this.adapter?.rows ?? 0)
  }

  get released(): boolean {
    return this.#released
  }

  release(): void {
    if (!this.#released) this.#free(this.bytes)
    this.#released = true
  }
}

/** The adapter whose rows are kept with a range of tokens. */
export const rowsIn = (
  { adapter }: FakeSlot,
  { end, start, tail, turn = 0 }: TokenRange,
): FakeAdapter | undefined => (start <= turn && end > turn && tail === undefined ? adapter : undefined)
