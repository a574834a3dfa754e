import { describe, expect, test } from 'vitest'
import { Clock, fleet, node } from '../../test/edge/routed-fleet.ts'
import { CircuitBreakers } from './circuit-breaker.ts'

describe('a circuit', () => {
  const [first] = fleet(1)
  if (first === undefined) throw new Error('unreachable')

  test('opens with a failure, lets one probe through when it has rested, and closes with its success', () => {
    const clock = new Clock()
    const breakers = new CircuitBreakers(clock.now)
    expect(breakers.state(first)).toBe('closed')
    breakers.failed(first)
    expect(breakers.state(first)).toBe('open')
    clock.time += 1000
    expect(breakers.state(first)).toBe('half-open')
    breakers.began(first)
    expect(breakers.state(first)).toBe('open')
    breakers.succeeded(first)
    expect(breakers.state(first)).toBe('closed')
  })

  test('stays open longer with each failed probe, up to 15 s; a death that many requests saw counts once', () => {
    const clock = new Clock()
    const breakers = new CircuitBreakers(clock.now)
    for (let i = 0; i < 40; i++) breakers.failed(first)
    const opened: number[] = []
    for (let probe = 0; probe < 7; probe++) {
      const since = clock.time
      while (breakers.state(first) === 'open') clock.time += 100
      opened.push(clock.time - since)
      breakers.began(first)
      breakers.failed(first)
    }
    expect(opened).toEqual([1000, 2000, 4000, 8000, 15_000, 15_000, 15_000])
  })

  test('lets another probe through when one shows nothing', () => {
    const clock = new Clock()
    const breakers = new CircuitBreakers(clock.now)
    breakers.failed(first)
    clock.time += 1000
    breakers.began(first)
    breakers.inconclusive(first)
    expect(breakers.state(first)).toBe('half-open')
  })

  test('of a new process in the node’s place is closed', () => {
    const breakers = new CircuitBreakers(new Clock().now)
    breakers.failed(first)
    expect(breakers.state(node(0, { instanceId: 'two' }))).toBe('closed')
  })
})
