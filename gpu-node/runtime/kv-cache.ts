import type { CacheSlot } from '../engine/backend.ts'
import type { Tensors } from './tensors.ts'

/** The cache of some sequences as a run of the serving graph takes it. */
export interface KvBinding {
  /** The slot in each row of the batch; not always the order they were given in. */
  readonly slots: readonly CacheSlot[]
  /** `past_key.{l}`, `past_value.{l}` */
  readonly feeds: Tensors
  /** `present_key.{l}`, `present_value.{l}`: what the run writes to. */
  readonly outputs: Tensors
}

/** Keys and values of every running sequence. Where they lie is the implementation's secret. */
export interface KvCache {
  /** A slot for `rows` rows, or undefined when there is none now. */
  allocate(rows: number): CacheSlot | undefined
  /**
   * Runs the graph on these slots, which gain `rows` rows each, which it writes. Nothing is gained when the run
   * fails. One call at a time; a slot released meanwhile is freed afterwards.
   */
  append(
    request: { slots: readonly CacheSlot[]; rows: number },
    run: (binding: KvBinding) => Promise<void>,
  ): Promise<void>
}
