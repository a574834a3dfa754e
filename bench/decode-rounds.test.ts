import { expect, test } from 'vitest'
import { range } from '../model/runtime/row-places.ts'
import { adaptersOfRound, adaptersTakingPart, roundsFor } from './decode-rounds.ts'

/** Adapters that are among the sequences of a measurement, round by round. */
function seen({ adapters, batch }: { adapters: number; batch: number }): Set<number> {
  const loaded = range(0, adapters)
  const rounds = range(0, roundsFor({ adapters, batch }))
  return new Set(rounds.flatMap((round) => adaptersOfRound(loaded, { batch, round })))
}

test('all adapters take part where the rounds allow it, and a row tells how many did', () => {
  for (const adapters of [0, 1, 8, 64, 1000])
    for (const batch of [1, 8, 32, 64, 128])
      expect(seen({ adapters, batch }).size, `${adapters}, batch ${batch}`).toBe(
        adaptersTakingPart({ adapters, batch }),
      )
  expect([1, 8, 64, 128].map((batch) => adaptersTakingPart({ adapters: 1000, batch }))).toEqual([
    16, 128, 1000, 1000,
  ])
  expect([1, 8].map((batch) => adaptersTakingPart({ adapters: 8, batch }))).toEqual([8, 8])
})

test('no two sequences of a round have the same adapter while there are others', () => {
  const round = adaptersOfRound(range(0, 64), { batch: 48, round: 1 })
  expect(new Set(round).size).toBe(48)
})
