import type { CacheSlot, KeptRows, TokenRange } from './backend.ts'
import type { FeedsAndOutputs } from './ort/bound-tensors.ts'
import type { Tensors } from './tensors.ts'

/** A sequence of a run, and the rows that it gains in each layer: [layers]. */
export interface SlotGrowth {
  readonly slot: CacheSlot
  readonly gained: readonly number[]
}

/** The cache of some sequences as a run of the serving graph takes it. */
export interface KvBinding {
  /**
   * The slot in each row of the batch; not always the order they were given in. Undefined where the row is none of theirs,
   * but must run as the others do: its results mean nothing.
   */
  readonly slots: readonly (CacheSlot | undefined)[]
  /** Rows that each row of the batch has in each layer so far: [layers][slots]. */
  readonly lengths: readonly (readonly number[])[]
  /** Inputs that say where the new rows stand. */
  readonly positions: Tensors
  /** `past_key.{l}`, `past_value.{l}`, and `present_key.{l}`, `present_value.{l}`, which the run writes to. */
  readonly tensors: FeedsAndOutputs
}

/** Keys and values of every running sequence. Where they lie is the implementation's secret. */
export interface KvCache {
  /** Bytes of this process's memory that its own copies have read or written: on a device, those that crossed. */
  readonly hostBytes: number
  /** Rows of its slots, and those that no other slot can have because of them. */
  readonly takenRows: number
  /** A slot for `rows` rows in every layer, or undefined when there is none now. */
  allocate(rows: number): CacheSlot | undefined
  /** Bytes of what `keep` would give. */
  bytesToKeep(slot: CacheSlot, range: TokenRange): number
  /** Copies the rows of some of a slot's tokens. Not during a run. */
  keep(slot: CacheSlot, range: TokenRange): Promise<KeptRows>
  /** Fills an empty slot with kept rows, in this order. Not during a run. */
  put(slot: CacheSlot, kept: readonly KeptRows[]): Promise<void>
  /**
   * Runs the graph on these sequences, each of which gains rows that the run writes; only in pages may they gain different
   * numbers. Nothing is gained when the run fails. One call at a time; a slot released meanwhile is freed afterwards.
   */
  append(sequences: readonly SlotGrowth[], run: (binding: KvBinding) => Promise<void>): Promise<void>
  /** Frees the memory when the last run has ended. */
  release(): Promise<void>
}
