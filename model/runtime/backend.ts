import type { AdapterFile, AdapterMetadata } from '../../shared/adapter-file.ts'
import type { BackboneDigest } from '../../shared/ids.ts'

/**
 * A backend runs the model. The engine decides, a backend computes; where the KV cache lies is the backend's secret.
 */
export interface Backend {
  readonly backbone: BackboneDigest
  readonly limits: BackendLimits
  /** Checks the adapter against this backbone and makes it ready to prefill with. Throws `backbone_mismatch`. */
  loadAdapter(file: AdapterFile): LoadedAdapter
  /** Late adapters as one, their rows one behind the other in this order. Throws `invalid_request`. */
  stack(parts: readonly LoadedAdapter[]): LoadedAdapter
  /**
   * Room for `rows` cache rows (prompt rows + prompt tokens + tokens to generate), or undefined when there is none now.
   * `padding`: more room, for tokens that a run takes back.
   */
  allocate(rows: number, padding?: number): CacheSlot | undefined
  /** Cache rows of its slots, and those that no other slot can have because of them: the rest of a page, or of a place. */
  readonly takenRows: number
  /** Memory that `keepRows` would take, in bytes. */
  bytesToKeep(slot: CacheSlot, range: TokenRange): number
  /** Copies the rows of some of a slot's tokens, to put them into other slots later. The caller releases them. */
  keepRows(slot: CacheSlot, range: TokenRange): Promise<KeptRows>
  /** Fills an empty slot with kept rows: those of its first tokens, range after range, prompt rows among them. */
  putRows(slot: CacheSlot, kept: readonly KeptRows[]): Promise<void>
  /**
   * Rows of the same tokens in slots of different variants differ: a sequence that is to be long may have other rotary
   * positions.
   */
  variantOf(slot: CacheSlot): number
  /** Sorts a step's parts into calls of `run`, in the order to make them in. */
  callsOf<P extends StepPart>(parts: readonly P[]): readonly (readonly P[])[]
  /**
   * Runs the parts of one call: the logits behind each one's last token, [parts, vocab], in their order. Valid until the next
   * call.
   */
  run(parts: readonly StepPart[]): Promise<Float32Array>
  /** Runs one chunk of a prompt; the one that begins where its rows belong, or with late rows the last, makes them too. */
  prefill(chunk: PrefillChunk): Promise<Float32Array>
  /** Runs a chunk as `prefill` does, and returns the logits of its tokens at these positions: [positions, vocab]. */
  score(chunk: PrefillChunk, positions: readonly number[]): Promise<Float32Array>
  /** Runs a chunk as `prefill` does, and returns the last hidden states of its tokens: [tokens, d]. */
  hidden(chunk: PrefillChunk): Promise<Float32Array>
  /** One token for each of a batch; logits [batch, vocab] in the batch's order. Valid until the next call. */
  decode(batch: readonly DecodeRow[]): Promise<Float32Array>
  close(): Promise<void>
}

export interface BackendLimits {
  readonly vocab: number
  /** Cache rows one sequence may have. */
  readonly contextLength: number
  /** Tokens in the largest prefill chunk; every adapter's window fits in it. A late adapter's tail may come on top. */
  readonly chunkTokens: number
  /** Sequences in the largest decode batch. */
  readonly maxBatch: number
  /** Cache rows in all. */
  readonly cacheRows: number
}

/** An adapter in the backend's form. Plain memory: the garbage collector frees it. */
export interface LoadedAdapter {
  /** Prompt rows (`l_sp`). */
  readonly rows: number
  readonly placement: AdapterMetadata['placement']
  /**
   * How many tokens its rows depend on, which must be in the chunk that makes them: the prompt's first, the first of its
   * newest turn, or those in front of late rows.
   */
  readonly window: number
  /** The number of prompt tokens behind late rows. Undefined where rows are not late. */
  readonly tail: number | undefined
  /** Memory it takes, in bytes. */
  readonly bytes: number
}

/** One sequence's part of the KV cache. Only the backend that made it can use it. */
export interface CacheSlot {
  /** Rows filled so far. */
  readonly length: number
  /** Forgets the last `tokens` tokens, as if they had not been run; the prompt rows stay. */
  rewind(tokens: number): void
  /** Gives the room back; a second call does nothing. */
  release(): void
}

/**
 * Tokens `start` to `end` of the `tokens` that a slot holds; the prompt rows go with the token that they stand at: the
 * prompt's first, or the first of its newest turn.
 */
export interface TokenRange {
  readonly start: number
  readonly end: number
  readonly tokens: number
  /** Where the slot has late rows: how many of the tokens stand behind them, all behind the range. */
  readonly tail?: number | undefined
  /** How many of the tokens stand in front of a newest turn with rows; 0 by default. */
  readonly turn?: number | undefined
}

/** Copies of cache rows, on the device that has the cache. */
export interface KeptRows {
  /** Memory it takes, in bytes. */
  readonly bytes: number
  /** Gives the memory back; a second call does nothing. */
  release(): void
}

export interface PrefillChunk {
  readonly slot: CacheSlot
  readonly tokens: readonly number[]
  /**
   * Only on the chunk that makes a tuned request's rows: the prompt's first, the one that its newest turn begins with, or
   * with late rows its last.
   */
  readonly adapter?: LoadedAdapter
  /** How many of the chunk's tokens stand behind late rows; by default the adapter's own `tail`. */
  readonly tail?: number | undefined
}

export interface DecodeRow {
  readonly slot: CacheSlot
  readonly token: number
}

/** The work of a step for one sequence. */
export type StepPart = ({ readonly kind: 'chunk' } & PrefillChunk) | ({ readonly kind: 'decode' } & DecodeRow)
