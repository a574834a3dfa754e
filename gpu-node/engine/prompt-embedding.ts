import type { Backend, PrefillChunk } from '../../model/runtime/backend.ts'
import { QuartetError } from '../../shared/errors.ts'
import { encodeVector } from '../../shared/vector.ts'
import type { GenerateEvent } from '../../shared/wire.ts'
import type { PromptReading, ReadTokens } from './prompt-reading.ts'

/** The mean of the last hidden states of one prompt's tokens, scaled to length 1, as its chunks are run. */
export class PromptEmbedding implements PromptReading {
  /** [d] */
  #sum = new Float64Array()

  mostTokens(): number {
    return Number.POSITIVE_INFINITY
  }

  run(backend: Backend, chunk: PrefillChunk): Promise<Float32Array> {
    return backend.hidden(chunk)
  }

  async add({ results, tokens, turn }: ReadTokens): Promise<void> {
    const d = results.length / tokens
    if (this.#sum.length === 0) this.#sum = new Float64Array(d)
    await turn(results.length)
    for (const [at, value] of results.entries()) this.#sum[at % d] = (this.#sum[at % d] ?? 0) + value
  }

  take(): GenerateEvent[] {
    // The mean of the tokens and their sum have one direction.
    const length = Math.sqrt(this.#sum.reduce((sum, x) => sum + x * x, 0))
    if (!(length > 0 && Number.isFinite(length)))
      throw new QuartetError('node_error', "the model's hidden states for the prompt are not numbers")
    return [{ type: 'embedding', vector: encodeVector(Float32Array.from(this.#sum, (x) => x / length)) }]
  }
}
