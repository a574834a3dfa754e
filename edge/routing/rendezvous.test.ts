import { describe, expect, test } from 'vitest'
import { fleet, home, keys } from '../../test/edge/routed-fleet.ts'

describe('rendezvous hashing', () => {
  test('spreads adapters evenly', () => {
    const counts = new Map<string | undefined, number>()
    for (const key of keys) counts.set(home(key, fleet(8)), (counts.get(home(key, fleet(8))) ?? 0) + 1)
    expect(counts.size).toBe(8)
    for (const count of counts.values()) expect(Math.abs(count - 500)).toBeLessThan(100)
  })

  test('moves only a lost node’s adapters, and those to many others', () => {
    const before = fleet(8)
    const after = before.slice(0, 7)
    const moved = keys.filter((key) => home(key, before) !== home(key, after))
    expect(moved.every((key) => home(key, before) === 'node-7')).toBe(true)
    expect(new Set(moved.map((key) => home(key, after))).size).toBe(7)
  })

  test('gives a new node its fair share of adapters and moves no other', () => {
    for (const size of [1, 3, 16, 63]) {
      const before = fleet(size)
      const after = fleet(size + 1)
      const moved = keys.filter((key) => home(key, before) !== home(key, after))
      expect(moved.every((key) => home(key, after) === `node-${size}`)).toBe(true)
      const fair = keys.length / (size + 1)
      expect(Math.abs(moved.length - fair)).toBeLessThan(4 * Math.sqrt(fair))
    }
  })

  test('does not depend on the order in which nodes are listed', () => {
    for (const key of keys.slice(0, 100)) expect(home(key, fleet(8).toReversed())).toBe(home(key, fleet(8)))
  })
})
