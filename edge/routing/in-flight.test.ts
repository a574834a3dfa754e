import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Clock, fleet, router, start } from '../../test/edge/routed-fleet.ts'
import { InFlight } from './in-flight.ts'

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
