import { bleu, bleuCounts } from './bleu.ts'
import { bootstrap, type Estimate, wilson } from './interval.ts'
import type { MeasuredPart, Measurements } from './measure.ts'
import { rougeL } from './rouge.ts'

/** Every metric there is, in the order in which a table shows them. */
export const metricNames = ['loss', 'perplexity', 'exactMatch', 'labelAccuracy', 'bleu', 'rougeL'] as const
export type MetricName = (typeof metricNames)[number]

/** The measurements that each metric needs. */
export const measuredParts: { readonly [M in MetricName]: MeasuredPart } = {
  loss: 'likelihood',
  perplexity: 'likelihood',
  exactMatch: 'answers',
  labelAccuracy: 'labels',
  bleu: 'answers',
  rougeL: 'answers',
}

/** Tokens below which BLEU has nothing to count. */
const leastForBleu = 4

/** The metrics that were measured. */
export type Metrics = { readonly [M in MetricName]?: Estimate }

/**
 * Averages with 95 % intervals: Wilson's for shares of correct answers, the bootstrap over examples for the others.
 * Loss is −log p per response token; exact match is equality up to white space around the answer; with several
 * references of one prompt the nearest counts. BLEU is 0 to 100, shares and ROUGE-L 0 to 1.
 * BLEU is left out where every reference is shorter than its longest n-gram, as labels are.
 */
export function metricsOf(
  { likelihoods, labels, answers }: Measurements,
  { seed }: { seed: number },
): Metrics {
  const loss =
    likelihoods.length > 0
      ? bootstrap({ items: likelihoods, seed, statistic: (sample) => lossPerToken(sample) })
      : undefined
  const scored = answers.map(({ output, references }) => ({
    isExact: references.includes(output),
    counts: bleuCounts(output, references),
    rouge: rougeL(output, references),
  }))
  const isScored = scored.length > 0
  const hasLongReferences = scored.some(({ counts }) => counts.referenceLength >= leastForBleu)
  return defined({
    loss,
    perplexity: loss && {
      value: Math.exp(loss.value),
      low: Math.exp(loss.low),
      high: Math.exp(loss.high),
    },
    exactMatch: isScored ? share(scored, ({ isExact }) => isExact) : undefined,
    labelAccuracy:
      labels.length > 0 ? share(labels, ({ chosen, expected }) => chosen === expected) : undefined,
    bleu: hasLongReferences
      ? bootstrap({
          items: scored,
          seed,
          statistic: (sample) => bleu(sample.map(({ counts }) => counts)),
        })
      : undefined,
    rougeL: isScored
      ? bootstrap({ items: scored, seed, statistic: (sample) => mean(sample.map(({ rouge }) => rouge)) })
      : undefined,
  })
}

function lossPerToken(sample: Measurements['likelihoods']): number {
  const tokens = sample.reduce((sum, example) => sum + example.tokens, 0)
  return sample.reduce((sum, { logLikelihood }) => sum - logLikelihood, 0) / tokens
}

function share<T>(items: readonly T[], isSuccess: (item: T) => boolean): Estimate {
  return wilson({ successes: items.filter(isSuccess).length, trials: items.length })
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length
}

function defined(metrics: { readonly [M in MetricName]: Estimate | undefined }): Metrics {
  return Object.fromEntries(Object.entries(metrics).filter(([, estimate]) => estimate !== undefined))
}
