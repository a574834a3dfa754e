import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Sampling } from '../../shared/wire.ts'
import { type SampledRequest, Sampler, SamplingState } from './sampler.ts'

const plain: Sampling = {
  temperature: 1,
  topP: 1,
  topK: 0,
  minP: 0,
  frequencyPenalty: 0,
  presencePenalty: 0,
  logitBias: [],
  seed: 1,
}

function sampler(
  logits: readonly number[],
  sampling: Partial<Sampling>,
  { logprobs = null, ...request }: Partial<SampledRequest> = {},
) {
  const state = new SamplingState({
    sampling: { ...plain, ...sampling },
    logprobs,
    ...{ prompt: [], stopTokens: [], ...request },
  })
  const chooser = new Sampler(logits.length)
  return () => chooser.choose(Float32Array.from(logits), state)
}

describe('bad words', () => {
  // Token 0 is likeliest, then 1, and so on.
  const logits = [4, 3, 2, 1]
  const greedily = (badWords: number[][], count: number, request: Partial<SampledRequest> = {}) => {
    const choose = sampler(logits, { temperature: 0, badWords }, request)
    return Array.from({ length: count }, () => choose().id)
  }

  it('of one token are never chosen, and of several not behind their first ones', () => {
    expect(greedily([[0]], 3)).toEqual([1, 1, 1])
    expect(greedily([[0, 0]], 5)).toEqual([0, 1, 0, 1, 0])
    expect(
      greedily(
        [
          [0, 0, 0],
          [1, 0],
        ],
        7,
      ),
    ).toEqual([0, 0, 1, 1, 1, 1, 1])
    expect(greedily([[0], [0], [1, 1]], 4)).toEqual([1, 2, 1, 2])
  })

  it('give way to a grammar that leaves no other choice', () => {
    const state = new SamplingState(
      { sampling: { ...plain, badWords: [[0]] }, logprobs: null, prompt: [], stopTokens: [] },
      Int32Array.of(1),
    )
    expect(new Sampler(4).choose(Float32Array.from(logits), state).id).toBe(0)
  })
})

function frequencies(logits: readonly number[], sampling: Partial<Sampling>, draws = 20_000): number[] {
  const choose = sampler(logits, sampling)
  const counts = logits.map(() => 0)
  for (let draw = 0; draw < draws; draw++) {
    const { id } = choose()
    counts[id] = (counts[id] ?? 0) + 1
  }
  return counts.map((count) => count / draws)
}

function softmax(logits: readonly number[], temperature = 1): number[] {
  const best = Math.max(...logits)
  const weights = logits.map((logit) => Math.exp((logit - best) / temperature))
  const sum = weights.reduce((a, b) => a + b, 0)
  return weights.map((weight) => weight / sum)
}

/** The stages as their definitions say, sorting everything; borders moved out by what rounding may. */
function support(logits: readonly number[], { temperature, topK, topP, minP }: Sampling): Set<number> {
  const probabilities = softmax(logits, temperature)
  let kept = logits
    .map((_, id) => id)
    .sort((a, b) => (probabilities[b] ?? 0) - (probabilities[a] ?? 0) || a - b)
  if (topK > 0) kept = kept.slice(0, topK)
  const mass = kept.reduce((sum, id) => sum + (probabilities[id] ?? 0), 0)
  let sum = 0
  const nucleus = kept.findIndex((id) => {
    sum += probabilities[id] ?? 0
    return sum >= topP * mass * (1 + 1e-5)
  })
  if (nucleus !== -1) kept = kept.slice(0, nucleus + 1)
  const heaviest = probabilities[kept[0] ?? 0] ?? 0
  return new Set(kept.filter((id) => (probabilities[id] ?? 0) >= minP * heaviest * (1 - 1e-5)))
}

const logitsOf = (size: number) =>
  fc.array(
    fc.integer({ min: -1000, max: 1000 }).map((n) => n / 64),
    { minLength: 1, maxLength: size },
  )

describe('sampling', () => {
  it('draws each token as often as softmax says', () => {
    const logits = [0, 1, 2, -1, 0.5]
    const expected = softmax(logits)
    for (const [id, share] of frequencies(logits, {}).entries())
      expect(share).toBeCloseTo(expected[id] ?? 0, 1.7)
  })

  it('sharpens with a low temperature and flattens with a high one', () => {
    const logits = [0, 1, 2]
    for (const temperature of [0.5, 2]) {
      const expected = softmax(logits, temperature)
      for (const [id, share] of frequencies(logits, { temperature }).entries())
        expect(share).toBeCloseTo(expected[id] ?? 0, 1.7)
    }
  })

  it('takes the likeliest token, the lowest id of equals, at temperature 0 and near it', () => {
    expect(sampler([1, 3, 3, 2], { temperature: 0 })().id).toBe(1)
    expect(sampler([1, 3, 2], { temperature: 1e-300 })().id).toBe(1)
  })

  it('never draws what top_k, top_p or min_p exclude', () => {
    fc.assert(
      fc.property(
        logitsOf(60),
        fc.record({
          temperature: fc.double({ min: 0.2, max: 2, noNaN: true }),
          topK: fc.integer({ min: 0, max: 12 }),
          topP: fc.double({ min: 0.05, max: 1, noNaN: true }),
          minP: fc.double({ min: 0, max: 1, noNaN: true }).map((p) => p * 0.999),
          seed: fc.integer({ min: 0, max: 2 ** 53 - 1 }),
        }),
        (logits, sampling) => {
          const allowed = support(logits, { ...plain, ...sampling })
          const choose = sampler(logits, sampling)
          for (let draw = 0; draw < 20; draw++) expect(allowed).toContain(choose().id)
        },
      ),
      { numRuns: 500 },
    )
  })

  it('draws everything that top_p keeps, and renormalises over it', () => {
    const shares = frequencies([2, 2, 1, -3], { topP: 0.7 })
    expect(shares[0]).toBeCloseTo(0.5, 1.7)
    expect(shares[1]).toBeCloseTo(0.5, 1.7)
    expect(shares.slice(2)).toEqual([0, 0])
  })

  it('keeps at least the likeliest token, however small top_p is', () => {
    expect(frequencies([0, 0.001, 0], { topP: 1e-9 }, 50)).toEqual([0, 1, 0])
  })

  it('applies top_p to what top_k left', () => {
    const shares = frequencies([3, 3, 3, 3], { topK: 2, topP: 0.6 }, 4000)
    expect(shares[0]).toBeCloseTo(0.5, 1)
    expect(shares.slice(2)).toEqual([0, 0])
  })

  it('gives the same tokens for the same seed, and others for another', () => {
    const logits = Array.from({ length: 500 }, (_, id) => Math.sin(id))
    const draws = (seed: number) => {
      const choose = sampler(logits, { seed })
      return Array.from({ length: 20 }, () => choose().id)
    }
    expect(draws(7)).toEqual(draws(7))
    expect(draws(7)).not.toEqual(draws(8))
    expect(draws(7)).not.toEqual(draws(7 + 2 ** 32))
  })

  it('adds logit_bias to the logits', () => {
    expect(sampler([1, 2, 3], { temperature: 0, logitBias: [[0, 5]] })().id).toBe(0)
    expect(frequencies([1, 1, 1], { logitBias: [[1, -100]] }, 300)[1]).toBe(0)
  })

  it('subtracts count × frequency_penalty + presence_penalty from generated tokens only', () => {
    const frequency = sampler([1, 0.75, 0], { temperature: 0, frequencyPenalty: 0.5 })
    expect(Array.from({ length: 5 }, () => frequency().id)).toEqual([0, 1, 0, 1, 0])
    const presence = sampler([1, 0.5, 0.1], { temperature: 0, presencePenalty: 2 })
    expect(Array.from({ length: 4 }, () => presence().id)).toEqual([0, 1, 2, 0])
  })

  it('applies repetition_penalty once to each token of prompt and answer, towards less likely on both signs', () => {
    const repeated = sampler(
      [3, 2, -1, -1.5],
      { temperature: 0, repetitionPenalty: 2 },
      { prompt: [0, 0, 0] },
    )
    // [1.5, 2, −1, −1.5], then token 1 too: [1.5, 1, −1, −1.5]; token 0 was in the prompt thrice.
    expect([repeated().id, repeated().id, repeated().id]).toEqual([1, 0, 0])
    expect(sampler([-1, -1.5], { temperature: 0, repetitionPenalty: 2 }, { prompt: [0] })().id).toBe(1)
  })

  it.each([0, 1])(
    'chooses a repeated token at temperature %d, however small repetition_penalty is',
    (temperature) => {
      for (const repetitionPenalty of [1e-7, 1e-45, Number.MIN_VALUE])
        expect(sampler([30, 2, -1], { temperature, repetitionPenalty }, { prompt: [1, 2] })().id).toBe(1)
    },
  )

  it('leaves everything as it is with a repetition_penalty of 1', () => {
    expect(sampler([3, 2], { temperature: 0, repetitionPenalty: 1 }, { prompt: [0] })().id).toBe(0)
  })

  it('chooses no stop token before min_tokens others', () => {
    const choose = sampler([5, 1, 4], { temperature: 0, minTokens: 2 }, { stopTokens: [0, 2] })
    expect([choose().id, choose().id, choose().id]).toEqual([1, 1, 0])
  })

  it('reports log softmax of the raw logits, whatever the stages did', () => {
    const logits = [1, 2, 3, -4]
    const expected = softmax(logits).map(Math.log)
    const { id, logprob, top } = sampler(logits, { temperature: 0, logitBias: [[0, 9]] }, { logprobs: 2 })()
    expect(id).toBe(0)
    expect(logprob).toBeCloseTo(expected[0] ?? 0, 5)
    expect(top?.map(([other]) => other)).toEqual([2, 1])
    expect(top?.[0]?.[1]).toBeCloseTo(expected[2] ?? 0, 5)
  })

  it('reports the alternatives most likely first', () => {
    fc.assert(
      fc.property(logitsOf(40), fc.integer({ min: 0, max: 20 }), (logits, count) => {
        const { top } = sampler(logits, {}, { logprobs: count })()
        const expected = logits
          .map((logit, id) => ({ logit, id }))
          .sort((a, b) => b.logit - a.logit || a.id - b.id)
          .slice(0, count)
          .map(({ id }) => id)
        expect(top?.map(([id]) => id)).toEqual(expected)
      }),
    )
  })

  it('refuses logits that are not numbers instead of choosing nonsense', () => {
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY])
      for (const temperature of [0, 1])
        for (let at = 0; at < 3; at++)
          expect(sampler([0, 1, 2].with(at, bad), { temperature })).toThrow(
            expect.objectContaining({ code: 'node_error' }),
          )
    expect(sampler([-Infinity, -Infinity], {})).toThrow(expect.objectContaining({ code: 'node_error' }))
  })

  it('never draws a token whose logit is minus infinity', () => {
    expect(frequencies([-Infinity, 0, -Infinity], {}, 100)).toEqual([0, 1, 0])
  })
})
