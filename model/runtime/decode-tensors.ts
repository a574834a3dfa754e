import type { DecodeRow } from './backend.ts'
import type { KvBinding } from './kv-cache.ts'
import type { BoundTensors } from './ort/bound-tensors.ts'
import type { InferenceSession } from './session.ts'
import { float32, int32 } from './tensors.ts'

/** The sizes of a run that decodes a token in each row of a batch. */
interface DecodeSizes {
  readonly layers: number
  /** Rows of the batch. */
  readonly rows: number
  /** Where the logits go: [sequences, vocab] of as many sequences as are wanted. */
  readonly logits: Float32Array
  readonly vocab: number
}

/**
 * Tensors of the serving graph that are the same in all runs of one token in each of so many rows, but for the values of some:
 * they are made and bound once, and written before each run.
 */
export class DecodeTensors implements Disposable {
  readonly #sizes: DecodeSizes
  readonly #tokens: BigInt64Array
  readonly #outputRows: BigInt64Array
  readonly #bound: BoundTensors

  constructor(session: InferenceSession, sizes: DecodeSizes) {
    const { layers, logits, rows, vocab } = sizes
    const sequences = logits.length / vocab
    this.#sizes = sizes
    this.#tokens = new BigInt64Array(rows)
    this.#outputRows = new BigInt64Array(sequences)
    this.#bound = session.bind({
      feeds: {
        tokens: { type: 'int64', data: this.#tokens, dims: [rows, 1] },
        // No row is a prompt row, so all stay in the residual stream.
        token_rows: int32(Array.from({ length: layers * rows }, (_, at) => at % rows)),
        token_counts: { type: 'int64', data: new BigInt64Array(layers).fill(BigInt(rows)), dims: [layers] },
        output_rows: { type: 'int64', data: this.#outputRows, dims: [sequences] },
        logit_rows: {
          type: 'int64',
          data: BigInt64Array.from({ length: sequences }, (_, row) => BigInt(row)),
          dims: [sequences],
        },
      },
      outputs: { logits: float32(logits, [sequences, vocab]) },
    })
  }

  /** Whether a run of such sizes has these tensors, where its logits lie in the same memory. */
  fit({ logits, rows }: Pick<DecodeSizes, 'logits' | 'rows'>): boolean {
    return rows === this.#sizes.rows && logits.length === this.#sizes.logits.length
  }

  /**
   * The tensors of a run that decodes this batch, whose logits come in its order. `slots`: the one in each row. The next step's
   * are written over them.
   */
  of(slots: KvBinding['slots'], batch: readonly DecodeRow[]): BoundTensors {
    // In a row that is none of theirs any token will do.
    this.#tokens.fill(0n)
    for (const [at, { slot, token }] of batch.entries()) {
      const row = slots.indexOf(slot)
      if (row === -1) throw new Error('a sequence has no row in its own batch')
      this.#tokens[row] = BigInt(token)
      this.#outputRows[at] = BigInt(row)
    }
    return this.#bound
  }

  [Symbol.dispose](): void {
    this.#bound[Symbol.dispose]()
  }
}
