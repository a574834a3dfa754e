import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { RefreshingCache } from './refreshing-cache.ts'

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['Date'] })
})
afterEach(() => {
  vi.useRealTimers()
})

function counted(values: (string | undefined)[]) {
  const behind: Promise<unknown>[] = []
  const load = vi.fn(async () => values.shift())
  return { behind, load, source: { load, background: (work: Promise<unknown>) => behind.push(work) } }
}

test('a fresh value is served without a load', async () => {
  const cache = new RefreshingCache<string>({ capacity: 2, maxMs: 4000 })
  const { load, source } = counted(['a', 'b'])
  expect(await cache.get('k', source)).toBe('a')
  vi.advanceTimersByTime(1999)
  expect(await cache.get('k', source)).toBe('a')
  expect(load).toHaveBeenCalledTimes(1)
})

test('an ageing value is served and renewed once behind the request', async () => {
  const cache = new RefreshingCache<string>({ capacity: 2, maxMs: 4000 })
  const { behind, load, source } = counted(['a', 'b'])
  await cache.get('k', source)
  vi.advanceTimersByTime(2500)
  expect(await Promise.all([cache.get('k', source), cache.get('k', source)])).toEqual(['a', 'a'])
  await Promise.all(behind)
  expect(load).toHaveBeenCalledTimes(2)
  expect(await cache.get('k', source)).toBe('b')
})

test('a value that is gone from the store is forgotten within the bound, even by a busy key', async () => {
  const cache = new RefreshingCache<string>({ capacity: 2, maxMs: 4000 })
  const { behind, source } = counted(['a'])
  await cache.get('k', source)
  vi.advanceTimersByTime(2500)
  await cache.get('k', source)
  await Promise.all(behind)
  expect(await cache.get('k', source)).toBeUndefined()
})

test('an old value is never served, whatever the store does', async () => {
  const cache = new RefreshingCache<string>({ capacity: 2, maxMs: 4000 })
  await cache.get('k', counted(['a']).source)
  vi.advanceTimersByTime(4000)
  const failing = { load: () => Promise.reject(new Error('KV is down')), background: () => undefined }
  await expect(cache.get('k', failing)).rejects.toThrow('KV is down')
})

test('it holds no more than its capacity', async () => {
  const cache = new RefreshingCache<string>({ capacity: 2, maxMs: 4000 })
  for (const key of ['a', 'b', 'c']) await cache.get(key, counted([key]).source)
  const { load, source } = counted(['again'])
  expect(await cache.get('a', source)).toBe('again')
  expect(load).toHaveBeenCalledTimes(1)
})

test('it holds no more than its capacity weighs, and keeps nothing that alone weighs more', async () => {
  const weigh = (value: string) => value.length
  const cache = new RefreshingCache<string>({ capacity: 5, maxMs: 4000, weigh })
  for (const key of ['aa', 'bb', 'c']) await cache.get(key, counted([key]).source)
  expect(['aa', 'bb', 'c'].map((key) => cache.has(key))).toEqual([true, true, true])
  await cache.get('dd', counted(['dd']).source)
  expect(['aa', 'bb', 'c', 'dd'].map((key) => cache.has(key))).toEqual([false, true, true, true])
  expect(await cache.get('large', counted(['larger']).source)).toBe('larger')
  expect(['bb', 'c', 'dd', 'large'].map((key) => cache.has(key))).toEqual([true, true, true, false])
  // A value that is read again, forgotten or cleared no longer counts with its old weight.
  await cache.reload('bb', counted(['b']).source)
  cache.delete('c')
  await cache.get('ee', counted(['ee']).source)
  expect(['bb', 'dd', 'ee'].map((key) => cache.has(key))).toEqual([true, true, true])
  cache.clear()
  await cache.get('ffff', counted(['fffff']).source)
  expect(cache.has('ffff')).toBe(true)
})
