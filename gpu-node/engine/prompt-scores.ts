import type { Backend, PrefillChunk } from '../../model/runtime/backend.ts'
import { logNormaliser } from '../../model/runtime/logits.ts'
import { QuartetError } from '../../shared/errors.ts'
import { type GenerateEvent, maxScoresPerEvent, type TokenScore } from '../../shared/wire.ts'
import type { PromptReading, ReadTokens } from './prompt-reading.ts'
import { likeliest } from './sampler.ts'

/** Memory of the logits of one run's prompt tokens, as far as an adapter's window can be parted. */
const mostLogitBytes = 64 * 1024 * 1024

/** How likely the tokens of one prompt are, as its chunks are run, until they are sent. */
export class PromptScores implements PromptReading {
  readonly #alternatives: number
  #scores: TokenScore[] = []

  constructor(alternatives: number) {
    this.#alternatives = alternatives
  }

  mostTokens(vocab: number): number {
    return Math.max(1, Math.floor(mostLogitBytes / (4 * vocab)))
  }

  run(backend: Backend, chunk: PrefillChunk): Promise<Float32Array> {
    return backend.score(chunk, [...chunk.tokens.keys()])
  }

  async add({ next, results, tokens, turn }: ReadTokens): Promise<void> {
    const vocab = results.length / tokens
    // No token follows the prompt's last one, so it has no score.
    for (const [row, id] of next.entries()) {
      await turn(vocab)
      this.#scores.push(this.#score(results.subarray(row * vocab, (row + 1) * vocab), id))
    }
  }

  take(): GenerateEvent[] {
    const scores = this.#scores
    this.#scores = []
    return Array.from({ length: Math.ceil(scores.length / maxScoresPerEvent) }, (_, at) => ({
      type: 'prompt',
      scores: scores.slice(at * maxScoresPerEvent, (at + 1) * maxScoresPerEvent),
    }))
  }

  #score(logits: Float32Array, id: number): TokenScore {
    const normaliser = logNormaliser(logits)
    const own = logits[id] ?? Number.NaN
    const logprob = own - normaliser
    if (!Number.isFinite(logprob))
      throw new QuartetError('node_error', "the model's logits for the prompt are not numbers")
    let rank = 1
    for (const logit of logits) if (logit > own) rank += 1
    const top = likeliest(logits, this.#alternatives).map((other): [number, number] => [
      other,
      (logits[other] ?? Number.NaN) - normaliser,
    ])
    return { logprob, rank, top }
  }
}
