import { expect, it } from 'vitest'
import { Rates } from './rates.ts'

const ended = (firstTokenMs: number, completionTokens = 1) => ({
  usage: { promptTokens: 3, completionTokens },
  timings: { queueMs: 0, prefillMs: firstTokenMs, decodeMs: 0 },
})

it('are those of the last ten seconds', () => {
  let now = 0
  const rates = new Rates(() => now)
  expect(rates.current).toEqual({
    tokensPerSecond: 0,
    requestsPerSecond: 0,
    firstTokenMsP50: null,
    firstTokenMsP95: null,
  })
  for (now = 0; now < 20_000; now += 100) rates.stepped({ decodeTokens: 1, jumpTokens: 1 })
  for (let i = 1; i <= 20; i++) rates.ended(ended(i * 10))
  rates.ended(ended(9_999, 0))
  expect(rates.current.tokensPerSecond).toBeCloseTo(22, 0)
  expect(rates.current).toMatchObject({ requestsPerSecond: 2.1, firstTokenMsP50: 110, firstTokenMsP95: 200 })
  now += 10_001
  expect(rates.current.tokensPerSecond).toBe(0)
})
