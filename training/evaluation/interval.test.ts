import { expect, test } from 'vitest'
import { Random } from '../../shared/prng.ts'
import { bootstrap, wilson } from './interval.ts'

// scipy.stats.binomtest(k, n).proportion_ci(method='wilson')
test.each([
  { successes: 367, trials: 400, low: 0.8864, high: 0.9407 },
  { successes: 9, trials: 10, low: 0.5958, high: 0.9821 },
  { successes: 0, trials: 20, low: 0, high: 0.1611 },
  { successes: 20, trials: 20, low: 0.8389, high: 1 },
])('Wilson’s interval of $successes in $trials is the known one', ({ successes, trials, low, high }) => {
  const interval = wilson({ successes, trials })
  expect(interval.value).toBe(successes / trials)
  expect(interval.low).toBeCloseTo(low, 4)
  expect(interval.high).toBeCloseTo(high, 4)
})

interface Item {
  readonly x: number
}

const mean = (sample: readonly Item[]) => sample.reduce((sum, { x }) => sum + x, 0) / sample.length

test('the bootstrap interval of a mean is that of the normal approximation', () => {
  const random = new Random(3)
  const items = Array.from({ length: 400 }, () => ({ x: random.next() }))
  const { value, low, high } = bootstrap({ items, statistic: mean, seed: 1 })
  const error = Math.sqrt(mean(items.map(({ x }) => ({ x: (x - value) ** 2 }))) / items.length)
  expect(low).toBeCloseTo(value - 1.96 * error, 2)
  expect(high).toBeCloseTo(value + 1.96 * error, 2)
  expect(high - low).toBeGreaterThan(3 * error)
})

test('the same seed gives the same interval, another seed another', () => {
  const items = [3, 1, 4, 1, 5, 9, 2, 6, 5.5, 3.5].map((x) => ({ x }))
  const once = bootstrap({ items, statistic: mean, seed: 7, resamples: 50 })
  expect(bootstrap({ items, statistic: mean, seed: 7, resamples: 50 })).toEqual(once)
  expect(bootstrap({ items, statistic: mean, seed: 8, resamples: 50 })).not.toEqual(once)
})
