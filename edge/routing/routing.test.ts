import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { NodeId } from '../../shared/heartbeat.ts'
import { AdapterDigest, type AdapterKey, adapterKey, BackboneDigest, TenantId } from '../../shared/ids.ts'
import { residentPrefix } from '../../shared/resident-adapters.ts'
import { rankNodes } from '../../test/edge/rank-nodes.ts'
import { type FleetNode, type NodeSelfReport, parseNodes } from '../fleet/nodes.ts'
import { chooseNode, loadBound, type RouteRequest } from './choose-node.ts'
import { CircuitBreakers } from './circuit-breaker.ts'
import { Dispatch } from './dispatch.ts'
import { FalseClaims } from './false-claims.ts'
import { FirstTokenTimes } from './first-token-times.ts'
import { InFlight } from './in-flight.ts'
import { NodeFailure } from './node-failures.ts'
import { RetryBudget } from './retry-budget.ts'
import { Router } from './router.ts'

const backbone = BackboneDigest.parse('ab'.repeat(32))
const adapterOf = (tenant: string, at: number) =>
  adapterKey(TenantId.parse(tenant), AdapterDigest.parse(at.toString(16).padStart(12, '0').padEnd(64, '0')))
const adapter = (at: number) => adapterOf('acme', at)
const keys = Array.from({ length: 4000 }, (_, at) => adapter(at))

const start = 1_000_000
const idle: NodeSelfReport = {
  instanceId: 'one',
  region: '',
  backbone,
  contextLength: 4096,
  maxBatch: 16,
  running: 0,
  waiting: 0,
  freeRows: 16_384,
  draining: false,
  resident: new Set(),
  reportedAt: start,
}
const node = (at: number, report: Partial<NodeSelfReport> = {}): FleetNode => ({
  id: NodeId.parse(`node-${at}`),
  url: `http://10.0.0.${at}`,
  report: { ...idle, ...report },
})
const fleet = (count: number, report: (at: number) => Partial<NodeSelfReport> = () => ({})): FleetNode[] =>
  Array.from({ length: count }, (_, at) => node(at, report(at)))
const home = (key: AdapterKey, nodes: readonly FleetNode[]) => rankNodes(key, nodes)[0]?.id

class Clock {
  time = start
  readonly now = () => this.time
}

const ask = (adapter: AdapterKey | null, more: Partial<RouteRequest> = {}): RouteRequest => ({
  adapter,
  backbone,
  promptTokens: 64,
  rows: 128,
  region: '',
  ...more,
})
const router = (clock = new Clock()) => new Router({ now: clock.now, random: () => 0.5 })
/** The nodes that would be asked one after the other, if each failed. */
function route(nodes: readonly FleetNode[], asked: RouteRequest, via = router()): string[] {
  const first = chooseNode(asked, via.view(nodes))
  if (first === undefined) return []
  const rest = nodes.filter(({ id }) => id !== first.id)
  return [first.id, ...route(rest, asked, via)]
}

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

test('a node’s load is its report, with what this isolate began and saw end since', () => {
  const clock = new Clock()
  const via = router(clock)
  const [busy] = fleet(1, () => ({ running: 5, reportedAt: start + 500 }))
  if (busy === undefined) throw new Error('unreachable')
  via.inFlight.began(busy.id)
  clock.time += 1000
  expect(via.load(busy)).toBe(5)
  via.inFlight.began(busy.id)
  via.inFlight.began(busy.id)
  expect(via.load(busy)).toBe(9)
  via.inFlight.ended(busy.id)
  via.inFlight.ended(busy.id)
  via.inFlight.ended(busy.id)
  expect(via.load(busy)).toBe(3)
})

test('requests in flight are remembered for some seconds and then forgotten', () => {
  const changes = fc.array(fc.tuple(fc.integer({ min: 0, max: 10 }), fc.boolean()), { maxLength: 200 })
  fc.assert(
    fc.property(changes, (steps) => {
      const clock = new Clock()
      const inFlight = new InFlight(clock.now)
      const truth: { at: number; count: number }[] = [{ at: start, count: 0 }]
      let count = 0
      for (const [wait, begins] of steps) {
        clock.time += 50 * wait
        if (!begins && count === 0) continue
        count += begins ? 1 : -1
        if (begins) inFlight.began('n')
        else inFlight.ended('n')
        truth.push({ at: clock.time, count })
        for (const ago of [0, 100, 2000]) {
          const then = truth.findLast(({ at }) => at <= clock.time - ago)?.count ?? 0
          expect(inFlight.countAt('n', clock.time - ago)).toBe(then)
        }
      }
    }),
  )
})

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

test('a claim that often proves false is ignored for a while, and no other of that node', () => {
  const clock = new Clock()
  const claims = new FalseClaims(clock.now)
  claims.note('liar', adapter(1))
  claims.note('liar', adapter(1))
  expect(claims.believes('liar', adapter(1))).toBe(true)
  claims.note('liar', adapter(1))
  expect(claims.believes('liar', adapter(1))).toBe(false)
  expect(claims.believes('honest', adapter(1))).toBe(true)
  expect(claims.believes('liar', adapterOf('umbrella', 1))).toBe(true)
  expect(claims.believes('liar', adapter(2))).toBe(true)
  clock.time += 30_000
  expect(claims.believes('liar', adapter(1))).toBe(true)

  const via = router(clock)
  const lying = fleet(2, () => ({ resident: new Set([residentPrefix(adapter(1))]) }))
  const [preferred, other] = rankNodes(adapter(1), lying)
  if (preferred === undefined || other === undefined) throw new Error('unreachable')
  for (let i = 0; i < 3; i++) via.falseClaims.note(preferred.id, adapter(1))
  expect(route(lying, ask(adapter(1)), via)).toEqual([other.id, preferred.id])
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

test('the p95 of first tokens follows what was seen last', () => {
  const times = new FirstTokenTimes()
  for (let i = 0; i < 19; i++) times.observed(64, 50)
  expect(times.p95(64)).toBeUndefined()
  for (let i = 0; i < 200; i++) times.observed(64, 500)
  expect(times.p95(100)).toBe(500)
  expect(times.p95(128)).toBeUndefined()
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
  test.each([undefined, '', '[]'])('%j is none', (json) => expect(parseNodes(json)).toEqual([]))
  test.each([
    '{}',
    'nodes',
    '[{"id": "a"}]',
    '[{"id": "a", "url": "ftp://x"}]',
    '[{"id": "a", "url": "http://user:pass@x"}]',
    '[{"id": "a", "url": "http://x/path"}]',
    '[{"id":"a","url":"http://x"},{"id":"a","url":"http://y"}]',
  ])('%j is refused with the reason', (json) => {
    expect(() => parseNodes(json)).toThrow(/QUARTET_NODES must be/)
  })
})
