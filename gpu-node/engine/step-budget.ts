/** Rows of a prompt that run in one step before anything was measured. */
const firstRows = 32
/** The fewest rows of a step on any machine: fewer cost almost as much, as every run reads all weights. */
export const fewestRows = 16
/** A chunk grows by at most this much over the longest one that was measured, as a small one tells little of it. */
const mostGrowth = 2
/** How much of an estimate each measurement replaces. */
const weight = 0.5
/** A step that no stream waits for may take this many times as long: longer chunks cost less per row. */
const idleSteps = 4
/** However slow decoding is, prompts get this part of a step. */
const leastShare = 1 / 4

interface Estimate {
  readonly msPerRow: number
  /** Rows of the longest chunk that was measured. */
  readonly rows: number
}

interface RanChunk {
  readonly rows: number
  /** Cache rows in front of it. */
  readonly depth: number
}

export interface RanCall {
  readonly ms: number
  readonly chunks: readonly RanChunk[]
  /** Tokens of forced texts. */
  readonly forced: number
  /** Sequences of which it decoded a token. */
  readonly decoded: number
}

export interface StepBudgetOptions {
  /** How long one step should take. */
  readonly stepMs: number
  /** Rows of prompts in one step, however quick. */
  readonly mostRows: number
}

/**
 * How many rows of prompts one step runs, so that it takes about `stepMs`, by the time that earlier steps took. The
 * cost of a row grows with the rows in front of it (attention), so it is measured apart for each depth, in powers of
 * two.
 */
export class StepBudget {
  /** Rows of prompts in one step, however quick. */
  readonly mostRows: number
  readonly #stepMs: number
  readonly #estimates: (Estimate | undefined)[] = []
  #decodeMs = 0

  constructor({ mostRows, stepMs }: StepBudgetOptions) {
    this.#stepMs = stepMs
    this.mostRows = mostRows
  }

  /** Milliseconds that the next step has for prompts, beside `decoding` sequences. */
  prefillMs(decoding: number): number {
    if (decoding === 0) return this.#stepMs * idleSteps
    return Math.max(this.#stepMs * leastShare, this.#stepMs - this.#decodeMs)
  }

  /** Rows that run in `ms` milliseconds behind `depth` rows. */
  rowsIn(ms: number, depth: number): number {
    const estimate = this.#estimateAt(depth)
    const rows = estimate === undefined ? firstRows : Math.floor(ms / estimate.msPerRow)
    const known = Math.max(firstRows, mostGrowth * (estimate?.rows ?? 0))
    return Math.min(this.mostRows, Math.max(fewestRows, Math.min(rows, known)))
  }

  /** Milliseconds that a chunk is expected to take; 0 while nothing was measured. */
  msOf({ depth, rows }: { rows: number; depth: number }): number {
    return rows * (this.#estimateAt(depth)?.msPerRow ?? 0)
  }

  /**
   * Learns from a call that took `ms`, and returns how much of it its chunks took. A row of theirs counts as much as a token of
   * a forced text. Where others decoded beside both, they took what decoding alone does not take, and at least their share of
   * the rows.
   */
  ran({ chunks, decoded, forced, ms }: RanCall): number {
    const rows = chunks.reduce((sum, chunk) => sum + chunk.rows, 0)
    if (rows + forced === 0) this.#decodeMs += weight * (ms - this.#decodeMs)
    if (rows === 0) return 0
    const all = rows + forced
    const besideDecode = decoded === 0 ? ms : Math.max(ms - this.#decodeMs, (ms * all) / (all + decoded))
    const chunkMs = (besideDecode * rows) / all
    for (const chunk of chunks) this.#prefilled({ ...chunk, ms: (chunkMs * chunk.rows) / rows })
    return chunkMs
  }

  #prefilled({ depth, ms, rows }: RanChunk & { readonly ms: number }): void {
    const at = depthClass(depth)
    const last = this.#estimates[at]
    // A short chunk costs more per row, as each run costs something: it tells nothing of a long one.
    if (last !== undefined && 2 * rows < last.rows && ms <= last.msPerRow * last.rows) return
    const msPerRow = ms / rows
    this.#estimates[at] = {
      msPerRow: last === undefined ? msPerRow : last.msPerRow + weight * (msPerRow - last.msPerRow),
      rows,
    }
  }

  /** The estimate of that depth, or else of the nearest measured depth below it. */
  #estimateAt(depth: number): Estimate | undefined {
    for (let at = depthClass(depth); at >= 0; at--) {
      const estimate = this.#estimates[at]
      if (estimate !== undefined) return estimate
    }
    return undefined
  }
}

const shallow = 256

/** 0 below 256 rows, then one class for each power of two. */
function depthClass(depth: number): number {
  return depth < shallow ? 0 : 1 + Math.floor(Math.log2(depth / shallow))
}
