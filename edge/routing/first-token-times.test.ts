import { expect, test } from 'vitest'
import { FirstTokenTimes } from './first-token-times.ts'

test('the p95 of first tokens follows what was seen last', () => {
  const times = new FirstTokenTimes()
  for (let i = 0; i < 19; i++) times.observed(64, 50)
  expect(times.p95(64)).toBeUndefined()
  for (let i = 0; i < 200; i++) times.observed(64, 500)
  expect(times.p95(100)).toBe(500)
  expect(times.p95(128)).toBeUndefined()
})
