import { expect, it } from 'vitest'
import { defaultSteps } from '../shared/training/job-size.ts'
import { defaultEvaluateEvery, rateFactor, TrainSettings } from './settings.ts'

it('the rates rise over the warm-up to the full ones and fall to zero at the end', () => {
  const factors = Array.from({ length: 100 }, (_, step) => rateFactor(step, { steps: 100, warmup: 0.06 }))
  expect(factors[0]).toBeCloseTo(1 / 6)
  expect(factors[5]).toBe(1)
  expect(factors[6]).toBe(1)
  expect(factors[99]).toBeCloseTo(1 / 94)
  for (const [step, factor] of factors.slice(7).entries()) expect(factor).toBeLessThan(factors[6 + step] ?? 0)
})

it('a training of one step, or without warm-up, moves', () => {
  expect(rateFactor(0, { steps: 1, warmup: 0.06 })).toBe(1)
  expect(rateFactor(0, { steps: 10, warmup: 0 })).toBe(1)
  expect(rateFactor(9, { steps: 10, warmup: 1 })).toBe(1)
})

it('a small file is repeated until it makes 100 steps, at most 20 times', () => {
  expect([1, 5, 7, 90, 99, 100, 101, 1000].map(defaultSteps)).toEqual([
    20, 100, 100, 100, 100, 100, 101, 1000,
  ])
})

it('more examples never give fewer steps, and one batch more gives at most 20', () => {
  const steps = Array.from({ length: 300 }, (_, i) => defaultSteps(i + 1))
  for (const [i, after] of steps.slice(1).entries()) {
    const before = steps[i] ?? 0
    expect(after).toBeGreaterThanOrEqual(before)
    expect(after - before).toBeLessThanOrEqual(20)
  }
})

it('the dev loss is measured ten times, and not more often than every ten steps', () => {
  expect([3, 50, 100, 1000].map(defaultEvaluateEvery)).toEqual([3, 10, 10, 100])
})

it('the defaults are those of the reference, but for Muon, higher rates of generator and anchors, and a wider start', () => {
  expect(TrainSettings.parse({ steps: 100, evaluateEvery: 10 })).toMatchObject({
    batch: 16,
    rates: { generator: 3e-3, anchor: 3e-2, static: 1e-2 },
    downDeviation: 4,
    optimizer: 'muon',
    decay: 0.01,
    warmup: 0.06,
    clip: 1,
  })
})
