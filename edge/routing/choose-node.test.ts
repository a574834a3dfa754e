import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { BackboneDigest } from '../../shared/ids.ts'
import { residentPrefix } from '../../shared/resident-adapters.ts'
import { rankNodes } from '../../test/edge/rank-nodes.ts'
import {
  adapter,
  adapterOf,
  ask,
  fleet,
  home,
  keys,
  node,
  route,
  router,
  start,
} from '../../test/edge/routed-fleet.ts'
import { chooseNode, loadBound } from './choose-node.ts'
import { Dispatch } from './dispatch.ts'
import { Router } from './router.ts'

describe('a tuned request', () => {
  test('goes where rendezvous hashing says on an idle fleet, and on to the next in that order', () => {
    for (const key of keys.slice(0, 100))
      expect(route(fleet(8), ask(key))).toEqual(rankNodes(key, fleet(8)).map(({ id }) => id))
  })

  test('prefers a node that holds the adapter to a cold one', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 3999 }), fc.integer({ min: 0, max: 7 }), (at, holder) => {
        const key = adapter(at)
        const nodes = fleet(8, (each) =>
          each === holder ? { resident: new Set([residentPrefix(key)]) } : {},
        )
        expect(route(nodes, ask(key))[0]).toBe(`node-${holder}`)
      }),
    )
  })

  test('never finds its first choice above its bounded share while another is below', () => {
    const loads = fc.array(fc.integer({ min: 0, max: 15 }), { minLength: 2, maxLength: 24 })
    fc.assert(
      fc.property(loads, fc.integer({ min: 0, max: 3999 }), (running, at) => {
        const nodes = fleet(running.length, (each) => ({
          running: running[each] ?? 0,
          resident: new Set([residentPrefix(adapter(at))]),
        }))
        const first = nodes.find(({ id }) => id === route(nodes, ask(adapter(at)))[0])
        const all = running.reduce((sum, load) => sum + load, 0) + 1
        const share = Math.max(Math.ceil((loadBound * all) / running.length), 4)
        expect((first?.report?.running ?? 0) + 1).toBeLessThanOrEqual(share)
      }),
    )
  })

  test('of one hot adapter spreads over more nodes as its load grows, the first of its own order', () => {
    let draws = 0
    const via = new Router({ now: () => start, random: () => (draws++ * 0.618) % 1 })
    const nodes = fleet(8)
    const order = rankNodes(adapter(1), nodes).map(({ id }) => id)
    const used = new Set<string>()
    const begin = (requests: number) => {
      for (let i = 0; i < requests; i++) {
        const attempt = new Dispatch(via, ask(adapter(1))).first(nodes)
        if (attempt !== undefined) used.add(attempt.node.id)
      }
      return used.size
    }
    expect(begin(2)).toBe(1)
    const some = begin(6)
    expect(some).toBeGreaterThan(1)
    expect(some).toBeLessThan(8)
    for (const id of used) expect(order.slice(0, 6)).toContain(id)
    expect(begin(100)).toBe(8)
    const loads = nodes.map((each) => via.load(each))
    expect(Math.max(...loads)).toBeLessThanOrEqual(Math.ceil(loadBound * (108 / 8)) + 1)
  })

  test('of a cold adapter stays on one node, however hot the others are', () => {
    const via = new Router({ now: () => start })
    for (let i = 0; i < 2000; i++) via.demand.asked(adapter(1 + (i % 4)))
    via.demand.asked(adapter(9))
    const nodes = fleet(8, () => ({ running: 6 }))
    const chosen = new Set(Array.from({ length: 50 }, () => chooseNode(ask(adapter(9)), via.view(nodes))?.id))
    expect(chosen.size).toBe(1)
  })

  test('stays in its region while that has room, then goes to the next', () => {
    const nodes = fleet(8, (at) => ({ region: at < 4 ? 'eu-west' : 'us-east' }))
    for (const key of keys.slice(0, 50)) {
      const order = route(nodes, ask(key, { region: 'eu' }))
      expect(order.slice(0, 4).every((id) => Number(id.slice(-1)) < 4)).toBe(true)
    }
    const full = fleet(8, (at) => (at < 4 ? { region: 'eu-west', running: 16 } : { region: 'us-east' }))
    expect(Number(route(full, ask(adapter(1), { region: 'eu' }))[0]?.slice(-1))).toBeGreaterThanOrEqual(4)
  })

  test('never goes to a node that drains or runs another backbone', () => {
    const other = BackboneDigest.parse('cd'.repeat(32))
    const nodes = [node(0, { draining: true }), node(1, { backbone: other }), node(2)]
    for (const key of keys.slice(0, 50)) expect(route(nodes, ask(key))).toEqual(['node-2'])
    expect(route(nodes.slice(0, 2), ask(adapter(1)))).toEqual([])
  })

  test('avoids a node without room in its KV cache or context while another has it', () => {
    for (const key of keys.slice(0, 50)) {
      expect(route([node(0, { freeRows: 100 }), node(1)], ask(key))[0]).toBe('node-1')
      expect(route([node(0, { contextLength: 100 }), node(1)], ask(key))[0]).toBe('node-1')
    }
  })
})

test('an untuned request goes to the less loaded of two', () => {
  const nodes = [node(0, { running: 9 }), node(1, { running: 2 })]
  for (let i = 0; i < 20; i++) {
    const via = new Router({ now: () => start })
    expect(chooseNode(ask(null), via.view(nodes))?.id).toBe('node-1')
  }
})

test("where a tenant's file is resident tells nobody else with the same file, and takes none of its requests there", () => {
  const keys = Array.from({ length: 200 }, (_, at) => at)
  const nodes = fleet(8)
  const moved = keys.filter((at) => {
    const first = home(adapterOf('acme', at), nodes)
    const holders = nodes.map((each) =>
      each.id === first && each.report !== null
        ? { ...each, report: { ...each.report, resident: new Set([residentPrefix(adapterOf('acme', at))]) } }
        : each,
    )
    const others = adapterOf('umbrella', at)
    expect(route(holders, ask(others))[0]).toBe(home(others, nodes))
    return home(others, nodes) !== first
  })
  // 7 of 8, if a home says nothing of the other.
  expect(moved.length).toBeGreaterThan(150)
  const via = router()
  for (let i = 0; i < 2_000; i++) via.demand.asked(adapterOf('acme', 1))
  expect(via.demand.share(adapterOf('umbrella', 1))).toBe(0)
})
