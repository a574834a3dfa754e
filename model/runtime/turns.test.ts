import { setImmediate as nextTurn } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { Turns } from './turns.ts'

/** Whether the event loop has a turn before a piece of so much work. */
async function turnsBefore(turns: Turns, work: number): Promise<boolean> {
  let hasTurned = false
  setImmediate(() => {
    hasTurned = true
  })
  await turns.before(work)
  return hasTurned
}

it('the loop has a turn between pieces that are long together', async () => {
  const turns = new Turns(10)
  expect(await turnsBefore(turns, 25)).toBe(false)
  expect(await turnsBefore(turns, 1)).toBe(true)
  expect(await turnsBefore(turns, 9)).toBe(false)
  expect(await turnsBefore(turns, 1)).toBe(true)
})

it('a turn that the loop had meanwhile counts', async () => {
  const turns = new Turns(10)
  await turns.before(10)
  await nextTurn()
  expect(await turnsBefore(turns, 10)).toBe(false)
  expect(await turnsBefore(turns, 1)).toBe(true)
})
