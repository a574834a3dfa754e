import type { AdapterFile } from '../../shared/adapter-file.ts'
import { concatenated } from './kind-tensors.ts'

/**
 * The table of an `ipt` adapter, a row for each token id. It stays outside the graph: a generator takes one vector of
 * it, the mean of as many rows as the instruction has tokens.
 */
export class TokenTable {
  /** [vocab, m] */
  readonly #rows: Float16Array
  readonly #m: number

  constructor(rows: Float16Array, m: number) {
    this.#rows = rows
    this.#m = m
  }

  /** The adapter's table; undefined for the kinds that have none. */
  static of({ metadata, tensors }: AdapterFile): TokenTable | undefined {
    const stored = metadata.kind === 'ipt' ? tensors.get('layers.0.table') : undefined
    if (metadata.kind !== 'ipt' || stored === undefined) return undefined
    return new TokenTable(new Float16Array(concatenated([stored.data])), metadata.m)
  }

  get bytes(): number {
    return this.#rows.byteLength
  }

  /** The mean of these tokens' rows: [1, m]. */
  mean(tokens: readonly number[]): Float32Array {
    const sum = new Float64Array(this.#m)
    for (const token of tokens)
      for (let i = 0; i < this.#m; i++) sum[i] = (sum[i] ?? 0) + (this.#rows[token * this.#m + i] ?? 0)
    return Float32Array.from(sum, (x) => x / tokens.length)
  }
}
