import { Random } from '../../shared/prng.ts'

/** A measured value with its 95 % confidence interval. */
export interface Estimate {
  readonly value: number
  readonly low: number
  readonly high: number
}

/** The 97.5 % point of the standard normal distribution. */
const z = 1.959963984540054

/**
 * A share of successes with Wilson's score interval (Wilson, "Probable inference, the law of succession, and
 * statistical inference", JASA 1927), which holds for small counts and at 0 % and 100 % too. `trials` is at least 1.
 */
export function wilson({ successes, trials }: { successes: number; trials: number }): Estimate {
  const value = successes / trials
  const shrunk = 1 + z ** 2 / trials
  const centre = (value + z ** 2 / (2 * trials)) / shrunk
  const half = (z / shrunk) * Math.sqrt((value * (1 - value)) / trials + (z / (2 * trials)) ** 2)
  return {
    value,
    low: successes === 0 ? 0 : centre - half,
    high: successes === trials ? 1 : centre + half,
  }
}

export interface BootstrapOptions<T extends object> {
  readonly items: readonly T[]
  /** The statistic of any sample of the items; called once per resample. */
  readonly statistic: (sample: readonly T[]) => number
  readonly seed: number
  readonly resamples?: number
}

/**
 * A statistic of the items with its percentile bootstrap interval: the same seed gives the same interval (Efron and
 * Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13).
 */
export function bootstrap<T extends object>({
  items,
  statistic,
  seed,
  resamples = 1000,
}: BootstrapOptions<T>): Estimate {
  const random = new Random(seed)
  const draw = () => items.flatMap(() => items.at(Math.floor(random.next() * items.length)) ?? [])
  const values = Float64Array.from({ length: resamples }, () => statistic(draw())).sort()
  const at = (share: number) => values[Math.round(share * (resamples - 1))] ?? Number.NaN
  return { value: statistic(items), low: at(0.025), high: at(0.975) }
}
