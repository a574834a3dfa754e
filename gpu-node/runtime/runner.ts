import type { CacheSlot } from '../engine/backend.ts'
import { graphFiles } from '../graph/export.ts'
import type { KvCache } from './kv-cache.ts'
import { Session, type SessionOptions } from './session.ts'
import { float32, int32, int64, type Tensors } from './tensors.ts'

/** One run of the serving graph, in which each slot gains the same number of rows. */
export interface Run {
  readonly slots: readonly CacheSlot[]
  /** Rows that each slot gains. */
  readonly rows: number
  readonly tokensOf: (slot: CacheSlot) => readonly number[]
  /** Which of all the rows gained are tokens. */
  readonly tokenRows: readonly number[]
  /** Which of all the tokens get logits. */
  readonly logitRows: readonly number[]
  /** Inputs `prompt.…`. */
  readonly prompt: Tensors
}

export interface RunResult {
  /** [logit rows, vocab]; overwritten by the next run. */
  readonly logits: Float32Array
  /** The slots in the order in which the batch held them. */
  readonly slots: readonly CacheSlot[]
}

/** The serving graph with its cache. */
export class Runner {
  readonly cache: KvCache
  readonly #session: Session
  readonly #vocab: number
  /** Grows to what the largest run needs. */
  #logits = new Float32Array(0)

  private constructor({ session, cache, vocab }: { session: Session; cache: KvCache; vocab: number }) {
    this.#session = session
    this.cache = cache
    this.#vocab = vocab
  }

  /** Throws `backbone_invalid` or, when the device does not start, `node_unavailable`. */
  static async open(
    folder: string,
    { cache, vocab, ...session }: SessionOptions & { cache: KvCache; vocab: number },
  ): Promise<Runner> {
    return new Runner({
      session: await Session.open({ folder, graph: graphFiles.serving }, session),
      cache,
      vocab,
    })
  }

  async run({ slots, rows, tokensOf, tokenRows, logitRows, prompt }: Run): Promise<RunResult> {
    const size = logitRows.length * this.#vocab
    if (this.#logits.length < size) this.#logits = new Float32Array(size)
    const logits = this.#logits.subarray(0, size)
    let order: readonly CacheSlot[] = []
    await this.cache.append({ slots, rows }, (binding) => {
      order = binding.slots
      const tokens = order.flatMap(tokensOf)
      const lengths = order.map((slot) => slot.length + rows)
      return this.#session.runInto(
        {
          ...prompt,
          ...binding.feeds,
          tokens: int64(tokens, [slots.length, tokens.length / slots.length]),
          last_row: int32(lengths.map((length) => length - 1)),
          total_rows: int32([Math.max(...lengths)], []),
          token_rows: int64(tokenRows),
          logit_rows: int64(logitRows),
        },
        { ...binding.outputs, logits: float32(logits, [logitRows.length, this.#vocab]) },
      )
    })
    return { logits, slots: order }
  }

  release(): Promise<void> {
    return this.#session.release()
  }
}
