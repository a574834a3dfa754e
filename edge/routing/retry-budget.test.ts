import { expect, test } from 'vitest'
import { RetryBudget } from './retry-budget.ts'

test('retries are a tenth of requests once the reserve is spent', () => {
  const budget = new RetryBudget()
  let retries = 0
  for (let request = 0; request < 1000; request++) {
    budget.request()
    if (budget.take()) retries += 1
  }
  expect(retries).toBeGreaterThan(100)
  expect(retries).toBeLessThanOrEqual(110)
})
