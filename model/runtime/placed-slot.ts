import { QuartetError } from '../../shared/errors.ts'
import type { CacheSlot, TokenRange } from './backend.ts'

/** A sequence's place in a cache whose places lie side by side. */
export class PlacedSlot implements CacheSlot {
  readonly reserved: number
  /** Place along the first axis of the cache's tensors. */
  index: number
  /** Rows filled in each layer; fewer in those below the one whose prompt rows are carried on. */
  readonly lengths: Int32Array
  /** Rows filled in the longest layer. */
  #length = 0
  readonly #free: (slot: PlacedSlot) => void
  #released = false
  #isLost = false

  constructor({
    reserved,
    index,
    layers,
    free,
  }: { reserved: number; index: number; layers: number; free: (slot: PlacedSlot) => void }) {
    this.reserved = reserved
    this.index = index
    this.lengths = new Int32Array(layers)
    this.#free = free
  }

  get length(): number {
    return this.#length
  }

  /** `gained[layer]` more rows are filled in each layer; less than none when the sequence is rewound. */
  grow(gained: readonly number[]): void {
    for (const [layer, rows] of gained.entries()) this.lengths[layer] = (this.lengths[layer] ?? 0) + rows
    this.#length = Math.max(...this.lengths)
  }

  rewind(tokens: number): void {
    const shortest = Math.min(...this.lengths)
    if (tokens > shortest)
      throw new QuartetError('internal_error', `a slot of ${shortest} rows cannot forget ${tokens}`)
    this.grow(Array<number>(this.lengths.length).fill(-tokens))
  }

  /** A copy failed half-way, so that other rows may lie where its own should: it can only be released from now on. */
  lose(): void {
    this.#isLost = true
  }

  /** Throws `node_error` for a slot that has lost its rows. */
  checkRows(): void {
    if (this.#isLost)
      throw new QuartetError('node_error', 'the rows of this slot were lost when they could not be moved')
  }

  release(): void {
    if (this.#released) return
    this.#released = true
    this.#free(this)
  }
}

/** Throws `internal_error` where `gained[layer]` more rows do not fit a slot. */
export function checkRoom({ lengths, reserved }: PlacedSlot, gained: readonly number[]): void {
  for (const [layer, rows] of gained.entries()) {
    const length = lengths[layer] ?? 0
    if (length + rows > reserved)
      throw new QuartetError(
        'internal_error',
        `a slot of ${reserved} rows has ${length} in layer ${layer}; ${rows} more do not fit`,
      )
  }
}

/** How many rows each range has. */
export const rowCounts = (ranges: ReturnType<typeof rowsOf>): readonly number[] =>
  ranges.map(({ from, to }) => to - from)

/**
 * The rows of a range of tokens in each layer of a slot. In each layer the tokens lie behind its prompt rows, but for
 * those in front of a newest turn with rows and a first token that lies in front of them; or they lie in front of late
 * rows.
 */
export function rowsOf(
  { lengths }: PlacedSlot,
  { end, start, tail, tokens, turn = 0 }: TokenRange,
): readonly { readonly from: number; readonly to: number }[] {
  if (tail !== undefined && end > tokens - tail)
    throw new QuartetError('internal_error', `a range ends at ${end}, behind late rows`)
  return Array.from(lengths, (length) => {
    const promptRows = tail === undefined ? length - tokens : 0
    return {
      from: start <= turn ? start : start + promptRows,
      to: end <= turn ? end : end + promptRows,
    }
  })
}
