import { expect, test } from 'vitest'
import { SharedWork } from './shared-work.ts'

const background = (work: Promise<unknown>) => void work
const failure = new Error('it failed')

test('work that several want at once is done once', async () => {
  const work = new SharedWork({ maxWaitMs: 1_000 })
  let runs = 0
  const run = async () => {
    runs += 1
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  await Promise.all(Array.from({ length: 5 }, () => work.join('key', { background, run })))
  expect(runs).toBe(1)
  await work.join('key', { background, run })
  expect(runs).toBe(2)
})

test('work that fails is not tried again by those who waited for it', async () => {
  const work = new SharedWork({ maxWaitMs: 1_000 })
  let runs = 0
  const run = async () => {
    runs += 1
    await new Promise((resolve) => setTimeout(resolve, 10))
    throw failure
  }
  const joins = Array.from({ length: 5 }, () => work.join('key', { background, run }))
  for (const outcome of await Promise.allSettled(joins))
    expect(outcome).toEqual({ status: 'rejected', reason: failure })
  expect(runs).toBe(1)
})

test('work that never ends is done again by one of those who waited for it', async () => {
  const work = new SharedWork({ maxWaitMs: 30 })
  let runs = 0
  const run = () => {
    runs += 1
    return new Promise<void>((resolve) => (runs === 1 ? undefined : setTimeout(resolve, 20)))
  }
  void work.join('key', { background, run })
  await Promise.all(Array.from({ length: 5 }, () => work.join('key', { background, run })))
  expect(runs).toBe(2)
})
