import { describe, expect, test } from 'vitest'
import type { AdapterKey } from '../../shared/ids.ts'
import { adapter, ask, Clock, fleet, home, keys, node, router } from '../../test/edge/routed-fleet.ts'
import { chooseNode } from './choose-node.ts'
import { Dispatch } from './dispatch.ts'
import { NodeFailure } from './node-failures.ts'

describe('a dispatch', () => {
  const verdict = (cause: string) => new NodeFailure(cause, { message: cause }).verdict

  test.each(['truncated', 'unreachable', 'draining', 'lost'])(
    'asks another node for free when one is %s, though the retry budget is spent',
    (cause) => {
      const via = router()
      while (via.retryBudget.take());
      const dispatch = new Dispatch(via, ask(adapter(1)))
      const attempt = dispatch.first(fleet(3))
      if (attempt === undefined) throw new Error('unreachable')
      attempt.failed(verdict(cause))
      const next = dispatch.next(fleet(3), { node: attempt.node, verdict: verdict(cause) })
      expect(next?.node.id).not.toBe(attempt.node.id)
      next?.failed(verdict(cause))
      if (next === undefined) throw new Error('unreachable')
      expect(dispatch.next(fleet(3), { node: next.node, verdict: verdict(cause) })).toBeUndefined()
    },
  )

  test('sends a request with which two nodes went silent or away to no third one', () => {
    for (const cause of ['lost', 'silent', 'truncated']) {
      const via = router()
      const dispatch = new Dispatch(via, ask(adapter(1)))
      const asked: string[] = []
      let attempt = dispatch.first(fleet(8))
      while (attempt !== undefined) {
        asked.push(attempt.node.id)
        attempt.failed(verdict(cause))
        attempt = dispatch.next(fleet(8), { node: attempt.node, verdict: verdict(cause) })
      }
      expect(asked).toHaveLength(2)
    }
  })

  test('takes a lost node only when nobody else is left, and then all the same', () => {
    const lost = fleet(8).map((each) => ({ ...each, isLost: true }))
    const alive = { ...node(9), isLost: false }
    for (const key of keys.slice(0, 50)) {
      const dispatch = new Dispatch(router(), ask(key))
      expect(dispatch.first([...lost, alive])?.node.id).toBe('node-9')
      expect(new Dispatch(router(), ask(key)).first(lost)?.node.id).toBe(home(key, lost))
      // Nor does it take one for free, or as a hedge.
      const via = router()
      while (via.retryBudget.take());
      const only = new Dispatch(via, ask(key))
      const attempt = only.first([...lost, alive])
      if (attempt === undefined) throw new Error('unreachable')
      expect(only.next(lost, { node: attempt.node, verdict: verdict('truncated') })).toBeUndefined()
    }
  })

  test('takes the one that is only lost, or only failed, before one that is both', () => {
    const via = router()
    const both = { ...node(0), isLost: true }
    const failed = node(1)
    for (const each of [both, failed]) via.breakers.failed(each)
    expect(chooseNode(ask(adapter(1)), via.view([both, failed]))?.id).toBe('node-1')
  })

  test('asks nobody for free when nobody is in good standing, so that an outage is not multiplied', () => {
    const clock = new Clock()
    const via = router(clock)
    const nodes = fleet(8)
    let calls = 0
    for (let request = 0; request < 1000; request++) {
      clock.time += 10
      const dispatch = new Dispatch(via, ask(adapter(request)))
      let attempt = dispatch.first(nodes)
      while (attempt !== undefined) {
        calls += 1
        attempt.failed(verdict('unreachable'))
        attempt = dispatch.next(nodes, { node: attempt.node, verdict: verdict('unreachable') })
      }
    }
    expect(calls).toBeLessThan(1150)
  })

  test('pays for repeating what a node did and failed', () => {
    const via = router()
    while (via.retryBudget.take());
    const dispatch = new Dispatch(via, ask(adapter(1)))
    const attempt = dispatch.first(fleet(3))
    if (attempt === undefined) throw new Error('unreachable')
    attempt.failed(verdict('internal_error'))
    expect(
      dispatch.next(fleet(3), { node: attempt.node, verdict: verdict('internal_error') }),
    ).toBeUndefined()
  })

  test('hedges once, at another node, after half as long again as the p95 of prompts of that size, and not on a busy fleet', () => {
    const via = router()
    for (let i = 0; i < 100; i++) via.firstTokenTimes.observed(64, 200 + i)
    const dispatch = new Dispatch(via, ask(adapter(1)))
    expect(dispatch.hedgeAfterMs).toBe(1.5 * 295)
    expect(new Dispatch(via, ask(adapter(1), { promptTokens: 1000 })).hedgeAfterMs).toBeUndefined()
    const attempt = dispatch.first(fleet(3))
    const hedge = dispatch.hedge(fleet(3))
    expect(hedge?.node.id).not.toBe(attempt?.node.id)
    expect(dispatch.hedge(fleet(3))).toBeUndefined()

    const onBusy = new Dispatch(via, ask(adapter(1)))
    const busy = fleet(3, () => ({ running: 13 }))
    onBusy.first(busy)
    expect(onBusy.hedge(busy)).toBeUndefined()
  })

  test('leaves hedges out when the budget is low', () => {
    const via = router()
    for (let i = 0; i < 6; i++) via.retryBudget.take()
    const dispatch = new Dispatch(via, ask(adapter(1)))
    dispatch.first(fleet(3))
    expect(dispatch.hedge(fleet(3))).toBeUndefined()
  })

  test('goes from a node that is too small to those that can hold the request, at no cost', () => {
    const via = router()
    while (via.retryBudget.take());
    const large = node(2)
    // Nodes that have not said how large they are.
    const nodes = [
      node(0, { contextLength: 127 }),
      ...[1, 3].map((at) => ({ ...node(at), report: null })),
      large,
    ]
    for (const key of keys.slice(0, 100)) {
      const dispatch = new Dispatch(via, ask(key))
      const asked: string[] = []
      let attempt = dispatch.first(nodes)
      while (attempt !== undefined) {
        asked.push(attempt.node.id)
        if (attempt.node.id === large.id) break
        attempt.failed(verdict('context_length_exceeded'))
        attempt = dispatch.next(nodes, { node: attempt.node, verdict: verdict('context_length_exceeded') })
      }
      expect(asked.at(-1)).toBe(large.id)
      expect(asked.length).toBeLessThanOrEqual(2)
      expect(asked).not.toContain('node-0')
    }
    for (const each of nodes) expect(via.breakers.state(each)).toBe('closed')
  })

  test('finds the one large node among listed ones, which never say how large they are, and remembers the others', () => {
    const via = router()
    while (via.retryBudget.take());
    const nodes = fleet(4).map((each) => ({ ...each, report: null }))
    const askedBy = (key: AdapterKey, rows: number) => {
      const dispatch = new Dispatch(via, ask(key, { rows }))
      const asked: string[] = []
      let attempt = dispatch.first(nodes)
      while (attempt !== undefined) {
        asked.push(attempt.node.id)
        if (attempt.node.id === 'node-3') return asked
        attempt.failed(verdict('context_length_exceeded'))
        attempt = dispatch.next(nodes, { node: attempt.node, verdict: verdict('context_length_exceeded') })
      }
      return asked
    }
    for (const key of keys.slice(0, 20)) expect(askedBy(key, 1_000).at(-1)).toBe('node-3')
    for (const key of keys.slice(0, 20)) expect(askedBy(key, 1_500)).toEqual(['node-3'])
    // A request smaller than every refused one goes to its own home.
    const homes = new Set(keys.map((key) => home(key, nodes)))
    expect(new Set(keys.map((key) => new Dispatch(via, ask(key)).first(nodes)?.node.id))).toEqual(homes)
  })

  test('counts each attempt in flight until its one end', () => {
    const via = router()
    const attempt = new Dispatch(via, ask(adapter(1))).first(fleet(1))
    expect(via.inFlight.count('node-0')).toBe(1)
    attempt?.answered()
    expect(via.inFlight.count('node-0')).toBe(1)
    attempt?.ended()
    attempt?.ended()
    attempt?.failed(verdict('truncated'))
    expect(via.inFlight.count('node-0')).toBe(0)
    expect(via.breakers.state(node(0))).toBe('closed')
  })
})
