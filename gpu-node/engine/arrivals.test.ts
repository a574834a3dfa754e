import { setImmediate as nextTurn } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { Arrivals } from './arrivals.ts'

/** Whether the event loop had a turn while this ran. */
async function turns(work: () => Promise<void>): Promise<boolean> {
  let hasTurned = false
  setImmediate(() => {
    hasTurned = true
  })
  await work()
  return hasTurned
}

it('steps that follow each other without a turn of the loop give it one', async () => {
  const arrivals = new Arrivals()
  for (let step = 0; step < 3; step++) expect(await turns(() => arrivals.settle())).toBe(true)
})

it('a step during which the loop had its turn is followed by the next at once, unless someone is at the door', async () => {
  const arrivals = new Arrivals()
  await arrivals.settle()
  await nextTurn()
  expect(await turns(() => arrivals.settle())).toBe(false)
  await nextTurn()
  const leave = arrivals.enter()
  setImmediate(() => setImmediate(leave))
  expect(await turns(() => arrivals.settle())).toBe(true)
  await nextTurn()
  expect(await turns(() => arrivals.settle())).toBe(false)
})
