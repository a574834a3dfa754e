/** A node may come back with a larger cache. */
const rememberedMs = 10 * 60_000

/**
 * For nodes that do not say how large their caches are: the fewest rows that each refused as too many. Keys are the ids
 * of listed nodes, which are few.
 */
export class RefusedRows {
  readonly #fewest = new Map<string, { readonly rows: number; readonly at: number }>()
  readonly #now: () => number

  constructor(now: () => number) {
    this.#now = now
  }

  note(node: string, rows: number): void {
    this.#fewest.set(node, { rows: Math.min(rows, this.#of(node) ?? rows), at: this.#now() })
  }

  /** Whether the node may be large enough for this many rows: it has not refused so few. */
  mayHold(node: string, rows: number): boolean {
    return rows < (this.#of(node) ?? Number.POSITIVE_INFINITY)
  }

  #of(node: string): number | undefined {
    const known = this.#fewest.get(node)
    return known !== undefined && this.#now() - known.at < rememberedMs ? known.rows : undefined
  }
}
