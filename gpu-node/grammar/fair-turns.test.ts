import { expect, test } from 'vitest'
import { FairTurns } from './fair-turns.ts'

test('one works at a time; whoever has little waits for one of whoever has much, failed work too', async () => {
  const turns = new FairTurns()
  const done: string[] = []
  let working = 0
  const work = (owner: string) =>
    turns
      .take(owner, async () => {
        working += 1
        expect(working).toBe(1)
        await new Promise((resolve) => setImmediate(resolve))
        working -= 1
        done.push(owner)
        if (owner === 'much') throw new Error('it failed')
      })
      .catch(() => undefined)
  await Promise.all(['much', 'much', 'much', 'much', 'little', 'other'].map(work))
  expect(done).toEqual(['much', 'much', 'little', 'other', 'much', 'much'])
  await work('late')
  expect(done.at(-1)).toBe('late')
})
