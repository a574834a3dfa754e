import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { GiveWay } from './give-way.ts'

/** Times are of a clock that the tests move, in milliseconds. */

beforeEach(() => {
  vi.useFakeTimers({ now: 0 })
})
afterEach(() => {
  vi.useRealTimers()
})

/** Work of a trainer beside nodes that have requests while `isBusy` says so. */
function trainer(isBusy: () => boolean, signal = new AbortController().signal) {
  const turns = new GiveWay({
    isBusy: async () => isBusy(),
    signal,
    wait: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
    now: Date.now,
  })
  const begun: number[] = []
  const ended: number[] = []
  const work = (ms: number) =>
    turns.take(
      (end) =>
        new Promise<string>((resolve, reject) => {
          begun.push(Date.now())
          const timer = setTimeout(() => resolve(`done at ${Date.now()}`), ms)
          end.addEventListener('abort', () => {
            clearTimeout(timer)
            ended.push(Date.now())
            reject(end.reason)
          })
        }),
    )
  return { begun, ended, work }
}

const between = (from: number, to: number) => () => Date.now() >= from && Date.now() < to

test('training begins when no node has had a request for half a second, and goes on while none comes', async () => {
  const { begun, work } = trainer(between(0, 2_000))
  const all = (async () => {
    await work(1_000)
    await work(1_000)
  })()
  await vi.advanceTimersByTimeAsync(10_000)
  await all
  expect(begun).toEqual([2_400, 3_400])
})

test('training stops within a tenth of a second of a request, and the same work is done once the node has none', async () => {
  const { begun, ended, work } = trainer(between(1_010, 3_000))
  const done = work(1_000)
  await vi.advanceTimersByTimeAsync(10_000)
  expect(await done).toBe('done at 4400')
  expect(begun).toEqual([500, 3_400])
  expect(ended).toEqual([1_100])
})

test('beside nodes that always have requests, training takes a thirtieth of the time and is not stopped', async () => {
  const { begun, ended, work } = trainer(() => true)
  const all = (async () => {
    for (let at = 0; at < 4; at++) await work(1_000)
  })()
  await vi.advanceTimersByTimeAsync(1_000_000)
  await all
  const pauses = begun.slice(1).map((at, i) => at - (begun[i] ?? 0))
  expect(pauses).toEqual([31_000, 31_000, 31_000])
  expect(ended).toEqual([])
})

test('a trainer that is to stop does not wait for the nodes', async () => {
  const stop = new AbortController()
  const { begun, work } = trainer(() => true, stop.signal)
  const done = work(1_000)
  await vi.advanceTimersByTimeAsync(1_000)
  stop.abort()
  await vi.advanceTimersByTimeAsync(2_000)
  await done
  expect(begun).toEqual([1_100])
})

test('work that fails by itself is not done again', async () => {
  const turns = new GiveWay({ isBusy: async () => false, signal: new AbortController().signal })
  vi.useRealTimers()
  const failing = turns.take(() => Promise.reject(new Error('the model failed to run')))
  await expect(failing).rejects.toThrow('failed to run')
})
