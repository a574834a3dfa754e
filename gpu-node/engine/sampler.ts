import { argmax, logNormaliser } from '../../model/runtime/logits.ts'
import { Random } from '../../shared/prng.ts'
import type { GenerateRequest, Sampling } from '../../shared/wire.ts'
import { Distribution } from './distribution.ts'
import { type LogitStage, logitStages, maskStage, type WeightStage, weightStages } from './sampling-stages.ts'

/** A chosen token. Log-probabilities are those of the model itself: log softmax of its logits before any stage. */
export interface ChosenToken {
  readonly id: number
  readonly logprob?: number
  /** The likeliest tokens, most likely first; among equals the lower id first. */
  readonly top?: [id: number, logprob: number][]
}

/** The parts of a request that its choices depend on. */
export type SampledRequest = Pick<GenerateRequest, 'sampling' | 'logprobs' | 'prompt' | 'stopTokens'>

/**
 * The state that decides one sequence's choices besides the logits: its parameters, its draws and the tokens that it
 * has generated.
 */
export class SamplingState {
  readonly sampling: Sampling
  /** Alternatives to report, or null for no log-probabilities at all. */
  readonly logprobs: number | null
  readonly logitStages: readonly LogitStage[]
  readonly weightStages: readonly WeightStage[]
  readonly random: Random
  readonly counts = new Map<number, number>()
  readonly promptTokens: ReadonlySet<number>
  readonly stopTokens: readonly number[]
  generated = 0
  readonly latest: number[] = []
  readonly #mostLatest: number

  /** `mask` says which tokens a grammar allows at the moment. */
  constructor({ logprobs, prompt, sampling, stopTokens }: SampledRequest, mask?: Int32Array) {
    this.sampling = sampling
    this.logprobs = logprobs
    this.promptTokens = new Set((sampling.repetitionPenalty ?? 1) === 1 ? [] : prompt)
    this.stopTokens = stopTokens
    this.logitStages = [
      ...logitStages.filter((stage) => stage.applies(sampling)),
      ...(mask === undefined ? [] : [maskStage(mask)]),
    ]
    this.weightStages =
      sampling.temperature === 0 ? [] : weightStages.filter((stage) => stage.applies(sampling))
    this.#mostLatest = Math.max(0, ...(sampling.badWords ?? []).map(({ length }) => length - 1))
    this.random = new Random(sampling.seed ?? Math.floor(Math.random() * Number.MAX_SAFE_INTEGER))
  }

  /** A token was chosen. */
  chosen(id: number): void {
    this.generated++
    if (this.logitStages.length > 0) this.counts.set(id, (this.counts.get(id) ?? 0) + 1)
    if (this.#mostLatest === 0) return
    this.latest.push(id)
    if (this.latest.length > this.#mostLatest) this.latest.shift()
  }
}

/** Chooses tokens for every sequence of an engine, one at a time, in one workspace. */
export class Sampler {
  readonly #distribution: Distribution

  constructor(vocab: number) {
    this.#distribution = new Distribution(vocab)
  }

  /** The next token after `logits` [vocab]. Throws `node_error` when they are not numbers to choose from. */
  choose(logits: Float32Array, state: SamplingState): ChosenToken {
    return this.force(this.#chooseId(logits, state), { logits, state })
  }

  /** A token that a grammar leaves alone, as if it had been chosen. */
  force(id: number, { logits, state }: { logits: Float32Array; state: SamplingState }): ChosenToken {
    state.chosen(id)
    if (state.logprobs === null) return { id }
    const normaliser = logNormaliser(logits)
    const top = likeliest(logits, state.logprobs).map((other): [number, number] => [
      other,
      (logits[other] ?? Number.NaN) - normaliser,
    ])
    return { id, logprob: (logits[id] ?? Number.NaN) - normaliser, top }
  }

  #chooseId(logits: Float32Array, state: SamplingState): number {
    const greedy = state.weightStages.length === 0
    if (greedy && state.logitStages.length === 0) return argmax(logits)
    const distribution = this.#distribution
    distribution.load(logits)
    for (const stage of state.logitStages) stage.apply(distribution.logits, state)
    if (greedy) return argmax(distribution.logits)
    for (const stage of state.weightStages) stage.apply(distribution, state.sampling)
    return distribution.draw(state.random.next())
  }
}

/** Ids of the `count` largest logits, by insertion into a list that short. */
export function likeliest(logits: Float32Array, count: number): number[] {
  const best: number[] = []
  if (count === 0) return best
  let least = Number.NEGATIVE_INFINITY
  for (let id = 0; id < logits.length; id++) {
    const logit = logits[id] ?? Number.NEGATIVE_INFINITY
    if (logit === Number.NEGATIVE_INFINITY || (best.length === count && logit <= least)) continue
    const place = best.findIndex((other) => (logits[other] ?? 0) < logit)
    best.splice(place === -1 ? best.length : place, 0, id)
    if (best.length > count) best.pop()
    least = logits[best[best.length - 1] ?? 0] ?? Number.NEGATIVE_INFINITY
  }
  return best
}
