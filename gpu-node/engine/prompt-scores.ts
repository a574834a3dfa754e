import { QuartetError } from '../../shared/errors.ts'
import { type GenerateEvent, maxScoresPerEvent, type TokenScore } from '../../shared/wire.ts'
import { logNormaliser } from './distribution.ts'
import { likeliest } from './sampler.ts'

/** Memory of the logits of one run's prompt tokens, as far as an adapter's window can be parted. */
const mostLogitBytes = 64 * 1024 * 1024

/** Tokens of a prompt whose logits one run gives at most. */
export const mostScored = (vocab: number): number => Math.max(1, Math.floor(mostLogitBytes / (4 * vocab)))

/** How likely the tokens of one prompt are, as its chunks are run, until they are sent. */
export class PromptScores {
  readonly #alternatives: number
  #scores: TokenScore[] = []

  constructor(alternatives: number) {
    this.#alternatives = alternatives
  }

  /** Takes the logits [vocab] behind a token of the prompt, and the next one. Throws `node_error` when they are not numbers. */
  add(logits: Float32Array, next: number): void {
    this.#scores.push(this.#score(logits, next))
  }

  /** Takes the scores that are ready, as events. Each score is taken once. */
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
