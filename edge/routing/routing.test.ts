import { describe, expect, test, vi } from 'vitest'
import { NodeHealth } from './health.ts'
import { type NodeAddress, parseNodes } from './nodes.ts'
import { rankNodes } from './rendezvous.ts'
import { RetryBudget } from './retry-budget.ts'

const fleet = (count: number): NodeAddress[] =>
  Array.from({ length: count }, (_, at) => ({ id: `node-${at}`, url: `http://10.0.0.${at}` }))
const keys = Array.from({ length: 4000 }, (_, at) => `adapter-${at}`)
const home = (key: string, nodes: readonly NodeAddress[]) => rankNodes(key, nodes)[0]?.id

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

  test('does not depend on the order in which nodes are listed', () => {
    for (const key of keys.slice(0, 100)) expect(home(key, fleet(8).toReversed())).toBe(home(key, fleet(8)))
  })
})

test('a node that failed is asked last until it has rested or answered', () => {
  vi.useFakeTimers({ toFake: ['Date'] })
  const [first, second] = fleet(2)
  if (first === undefined || second === undefined) throw new Error('unreachable')
  const health = new NodeHealth()
  health.failed(first)
  expect(health.prefer([first, second])).toEqual([second, first])
  vi.advanceTimersByTime(1000)
  expect(health.prefer([first, second])).toEqual([first, second])
  health.failed(first)
  vi.advanceTimersByTime(1500)
  expect(health.prefer([first, second])).toEqual([second, first])
  health.answered(first)
  expect(health.prefer([first, second])).toEqual([first, second])
  vi.useRealTimers()
})

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

describe('QUARTET_NODES', () => {
  test('is a list of ids and addresses', () => {
    expect(parseNodes('[{"id": "a", "url": "http://x:1/"}]')).toEqual([{ id: 'a', url: 'http://x:1' }])
  })
  test.each([
    '',
    '{}',
    '[]',
    '[{"id": "a"}]',
    '[{"id": "a", "url": "ftp://x"}]',
    '[{"id":"a","url":"http://x"},{"id":"a","url":"http://y"}]',
  ])('%j is refused with the reason', (json) => {
    expect(() => parseNodes(json)).toThrow(/QUARTET_NODES must be/)
  })
})
