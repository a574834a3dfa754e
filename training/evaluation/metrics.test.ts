import { expect, test } from 'vitest'
import type { Measurements } from './measure.ts'
import { metricsOf } from './metrics.ts'

const nothing: Measurements = { likelihoods: [], labels: [], answers: [] }
const answer = (output: string, ...references: string[]) => ({ prompt: '?', output, references })

test('a metric that was not measured has no figure', () => {
  expect(metricsOf(nothing, { seed: 0 })).toEqual({})
})

test('loss is averaged over tokens, not over examples, and perplexity is its exponential', () => {
  const likelihoods = [
    { logLikelihood: -1, tokens: 1 },
    { logLikelihood: -3, tokens: 7 },
  ]
  const { loss, perplexity } = metricsOf({ ...nothing, likelihoods }, { seed: 0 })
  expect(loss?.value).toBe(0.5)
  expect(perplexity?.value).toBeCloseTo(Math.exp(0.5), 12)
  expect(loss?.low).toBeLessThanOrEqual(0.5)
  expect(loss?.high).toBeGreaterThanOrEqual(0.5)
})

test('a label counts when it is the expected one', () => {
  const labels = [
    { prompt: 'p', chosen: 'a', expected: 'a' },
    { prompt: 'p', chosen: 'b', expected: 'a' },
    { prompt: 'p', chosen: 'b', expected: 'b' },
    { prompt: 'p', chosen: 'b', expected: 'b' },
  ]
  const { labelAccuracy } = metricsOf({ ...nothing, labels }, { seed: 0 })
  expect(labelAccuracy?.value).toBe(0.75)
  expect(labelAccuracy?.low).toBeCloseTo(0.3006, 3)
})

test('an answer is exact when it equals any of its references', () => {
  const answers = [answer('two', 'one', 'two'), answer('Three', 'three')]
  const { exactMatch, rougeL } = metricsOf({ ...nothing, answers }, { seed: 0 })
  expect(exactMatch?.value).toBe(0.5)
  expect(rougeL?.value).toBe(1)
})

test('BLEU is left out where no reference is long enough for it', () => {
  expect(metricsOf({ ...nothing, answers: [answer('billing', 'billing')] }, { seed: 0 }).bleu).toBeUndefined()
  const answers = [answer('a cat sat on the mat', 'a cat sat on the mat')]
  expect(metricsOf({ ...nothing, answers }, { seed: 0 }).bleu?.value).toBeCloseTo(100, 9)
})
