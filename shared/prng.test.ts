import { expect, test } from 'vitest'
import { Random } from './prng.ts'

/** Computed by the reference's steps (https://prng.di.unimi.it/xoshiro128plusplus.c) in Python's exact integers. */
test.each([
  [7, [0.930866281411944, 0.5100166420191377, 0.9806378910063682]],
  [9007199254740991, [0.29346353500717326, 0.2383706410866273, 0.9728718466102937]],
])('seed %d draws what the reference generator draws', (seed, expected) => {
  const random = new Random(seed)
  expect(expected.map(() => random.next())).toEqual(expected)
})

test('seeds that differ only above 32 bits draw differently', () => {
  expect(new Random(1).next()).not.toBe(new Random(1 + 2 ** 32).next())
})
