import { expect, it } from 'vitest'
import { FakeBackend } from '../test/fakes/fake-backend.ts'
import { backendRates } from './engine-rates.ts'

it('a backend reads a prompt for each batch and decodes as many tokens of each of its sequences', async () => {
  const backend = new FakeBackend()
  const rates = await backendRates(backend, { context: 16, newTokens: 3, batches: [1, 4] })
  const prompt = { type: 'prefill', tokens: 16, tuned: false }
  const decode = (batch: number) => Array<unknown>(3).fill({ type: 'decode', batch })
  expect(backend.calls).toEqual([prompt, ...decode(1), prompt, ...decode(4)])
  expect([backend.usedRows, backend.keptBytes]).toEqual([0, 0])
  expect(rates.decode).toHaveLength(2)
  for (const rate of [rates.prefill, ...rates.decode]) expect(rate).toBeGreaterThan(0)
})
