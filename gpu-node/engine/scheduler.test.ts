import { expect, test } from 'vitest'
import { TenantId } from '../../shared/ids.ts'
import { generateRequest } from '../../test/contract/node-client.ts'
import { FakeBackend } from '../../test/fakes/fake-backend.ts'
import { Scheduler } from './scheduler.ts'
import { Sequence } from './sequence.ts'

test('a step runs the forced texts that its time has room for, and the others wait for the next one', async () => {
  const scheduler = new Scheduler({
    backend: new FakeBackend({ maxBatch: 8 }),
    queue: { total: 10, perTenant: 10 },
    budget: { mostRows: 512, msOf: () => 60, prefillMs: () => 100, rowsIn: () => 512 },
    prefixes: {
      restore: async () => ({ tokens: 0, earlier: 0 }),
      shouldWait: () => false,
      expect: () => {},
      forget: () => {},
    },
  })
  const sequences = Array.from({ length: 4 }, () => {
    const request = generateRequest({ maxTokens: 50 })
    const { signal } = new AbortController()
    return new Sequence({ tenant: TenantId.parse('acme'), request, adapter: null, signal }, 0)
  })
  for (const sequence of sequences) scheduler.queue.push(sequence, () => 1)
  await scheduler.schedule(0)
  for (const [at, sequence] of sequences.entries()) {
    if (sequence.phase.name !== 'prefilling') throw new Error('all were admitted')
    const { slot } = sequence.phase
    scheduler.promote(sequence)
    sequence.phase = { name: 'decoding', slot, next: at === 0 ? [7] : [1, 2, 3, 4] }
  }
  const { decode, jumps } = await scheduler.schedule(0)
  expect(decode).toEqual([sequences[0]])
  expect(jumps.map(({ sequence }) => sequence)).toEqual([sequences[1], sequences[2]])
})
