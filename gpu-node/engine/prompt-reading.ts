import type { Backend, PrefillChunk } from '../../model/runtime/backend.ts'
import type { GenerateEvent } from '../../shared/wire.ts'

/** A run of some of a prompt's tokens. */
export interface ReadTokens {
  /** The result for each of them, one behind the other. */
  readonly results: Float32Array
  /** The token behind each of them; the prompt's last one has none. */
  readonly next: readonly number[]
  /** How many tokens were run. */
  readonly tokens: number
  /** Call it before work on that many numbers, so that other work has its turn. */
  readonly turn: (numbers: number) => Promise<void>
}

/** Gathers the facts that a request wants of its prompt's tokens, while the prompt is run chunk by chunk. */
export interface PromptReading {
  /** Tokens that one run may have, as far as the memory for their results goes. */
  mostTokens(vocab: number): number
  run(backend: Backend, chunk: PrefillChunk): Promise<Float32Array>
  /** Takes down the results of a run. Throws `node_error` when they are not numbers. */
  add(read: ReadTokens): Promise<void>
  /** Takes what is ready, as events. Each is taken once. */
  take(): GenerateEvent[]
}
