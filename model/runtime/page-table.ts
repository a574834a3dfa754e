import { QuartetError } from '../../shared/errors.ts'

/** Which pages of a cache are free. A page holds the same rows of every layer. */
export class Pages {
  readonly pageRows: number
  readonly #free: number[]

  constructor({ count, pageRows }: { count: number; pageRows: number }) {
    this.pageRows = pageRows
    this.#free = Array.from({ length: count }, (_, at) => count - 1 - at)
  }

  get free(): number {
    return this.#free.length
  }

  /** Pages for so many rows, or undefined when there are none now. */
  take(rows: number): readonly number[] | undefined {
    const count = Math.ceil(rows / this.pageRows)
    return count > this.#free.length ? undefined : this.#free.splice(this.#free.length - count, count)
  }

  give(pages: readonly number[]): void {
    this.#free.push(...pages)
  }

  /** Where a row of a sequence lies among the rows of all pages. */
  rowAt(pages: readonly number[], row: number): number {
    const page = pages[Math.floor(row / this.pageRows)]
    if (page === undefined) throw overflow(row + 1, pages.length * this.pageRows)
    return page * this.pageRows + (row % this.pageRows)
  }

  /**
   * The tables of a run, one row for each sequence, as long as the longest one's pages: what stands behind a sequence's
   * own is never read. Throws `internal_error` when a sequence would leave its pages.
   */
  blockTable(sequences: readonly { readonly pages: readonly number[]; readonly rows: number }[]): {
    readonly table: readonly number[]
    readonly width: number
  } {
    for (const { pages, rows } of sequences)
      if (rows > pages.length * this.pageRows) throw overflow(rows, pages.length * this.pageRows)
    const width = Math.max(1, ...sequences.map(({ pages }) => pages.length))
    const table = sequences.flatMap(({ pages }) => [
      ...pages,
      ...Array<number>(width - pages.length).fill(pages.at(-1) ?? 0),
    ])
    return { table, width }
  }
}

const overflow = (rows: number, room: number) =>
  new QuartetError('internal_error', `${rows} rows do not fit a sequence's pages, which hold ${room}`)

/** Where each sequence's rows begin in a run, and where the last ones end. */
export function rowStarts(gained: readonly number[]): number[] {
  const starts = [0]
  for (const rows of gained) starts.push((starts.at(-1) ?? 0) + rows)
  return starts
}
