import { expect, test } from 'vitest'
import { residentPrefix } from '../../shared/resident-adapters.ts'
import { rankNodes } from '../../test/edge/rank-nodes.ts'
import { adapter, adapterOf, ask, Clock, fleet, route, router } from '../../test/edge/routed-fleet.ts'
import { FalseClaims } from './false-claims.ts'

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
