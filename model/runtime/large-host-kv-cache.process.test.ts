import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { tinyConfig } from '../../test/parity/tiny-backbone.ts'
import type { CacheSlot } from './backend.ts'
import { HostKvCache } from './host-kv-cache.ts'
import { floats } from './tensors.ts'

const rows = 6000
const large = { ...tinyConfig, layers: 2, heads: 4, kvHeads: 4, headDim: 64 }
const rowBytes = 2 * large.layers * large.kvHeads * large.headDim * 4
let cache: HostKvCache
beforeEach(() => {
  cache = new HostKvCache(large, {
    maxBatch: 3,
    cacheRows: 2 * rows,
    contextLength: rows,
    firstCapacity: rows,
    bind: (tensors) => ({ ...tensors, [Symbol.dispose]: () => {} }),
  })
})

afterEach(() => cache.release())

/** A slot of so many rows, each of which holds this number. */
async function filled(count: number, value: number): Promise<CacheSlot> {
  const slot = cache.allocate(count)
  if (slot === undefined) throw new Error('no room')
  await cache.append([{ slot: slot, gained: [count, count] }], async ({ tensors: { outputs } }) => {
    for (const tensor of Object.values(outputs))
      for (let head = 0; head < large.kvHeads; head++) {
        const at = head * cache.capacity * large.headDim
        floats(tensor).fill(value, at, at + count * large.headDim)
      }
  })
  return slot
}

/** The sum of a slot's keys in the last layer. */
async function sumOf(slot: CacheSlot): Promise<number> {
  let sum = 0
  await cache.append([{ slot: slot, gained: [0, 0] }], async ({ tensors: { feeds } }) => {
    for (let head = 0; head < large.kvHeads; head++) {
      const at = head * cache.capacity * large.headDim
      const keys = floats(feeds['past_key.1']).subarray(at, at + slot.length * large.headDim)
      sum += keys.reduce((a, b) => a + b, 0)
    }
  })
  return sum / (large.kvHeads * large.headDim)
}

test('the event loop has a turn between any two pieces of copying that are long together', async () => {
  const [a, b] = [await filled(rows, 1), await filled(2000, 2)]
  const neighbour = await filled(1000, 3)
  a.release()
  const other = await filled(1500, 4)
  const copied = countCopies()
  try {
    const kept = [
      await cache.keep(neighbour, { start: 0, end: 500, tokens: 1000 }),
      await cache.keep(neighbour, { start: 500, end: 1000, tokens: 1000 }),
    ]
    neighbour.release()
    const again = cache.allocate(3000)
    if (again === undefined) throw new Error('no room')
    await cache.put(again, kept)
    await cache.append(
      [b, other].map((slot) => ({ slot, gained: [0, 0] })),
      async () => {},
    )
    await cache.append(
      [b, again].map((slot) => ({ slot, gained: [0, 0] })),
      async () => {},
    )
    await cache.append(
      [other, again].map((slot) => ({ slot, gained: [0, 0] })),
      async () => {},
    )
    expect(copied.largest).toBeLessThanOrEqual(2 * 1024 ** 2)
    expect(copied.all).toBeGreaterThan(3000 * rowBytes)
    copied.stop()
    expect(await sumOf(b)).toBe(2 * 2000)
    expect(await sumOf(again)).toBe(3 * 1000)
    expect(await sumOf(other)).toBe(4 * 1500)
  } finally {
    copied.stop()
  }
})

test.runIf(process.platform === 'linux')(
  'what ended sequences left behind goes back to the system before the budget is passed',
  async () => {
    collectGarbage()
    const before = process.memoryUsage.rss()
    const held = () => (process.memoryUsage.rss() - before) / (rows * rowBytes)
    const short = await filled(rows / 2, 1)
    const [long, other] = [await filled(rows, 2), await filled(rows / 2, 3)]
    long.release()
    other.release()
    expect(held()).toBeGreaterThan(1.8)
    for (let turn = 0; turn < 4; turn++) {
      const [a, b] = [await filled(rows / 4, 4), await filled(rows, 5)]
      expect(held()).toBeLessThan(2.3)
      expect(await sumOf(short)).toBe(rows / 2)
      expect(await sumOf(a)).toBe(rows)
      expect(await sumOf(b)).toBe(5 * rows)
      a.release()
      b.release()
    }
  },
)

/** Frees the buffers of tests before, which would go while a test measures this process's memory. */
function collectGarbage(): void {
  setFlagsFromString('--expose-gc')
  const collect: unknown = runInNewContext('gc')
  if (typeof collect !== 'function') throw new Error('the garbage collector is not exposed')
  // Memory that the first collection finds is freed beside the program, and by the second at the latest.
  for (let turn = 0; turn < 2; turn++) collect()
}

/** Counts the bytes that typed arrays copy between two turns of the event loop. */
function countCopies() {
  const count = { all: 0, largest: 0, sinceLast: 0, stop: () => {} }
  const add = (bytes: number) => {
    count.all += bytes
    count.sinceLast += bytes
    count.largest = Math.max(count.largest, count.sinceLast)
  }
  const { copyWithin, set } = Uint8Array.prototype
  const spies = [
    vi.spyOn(Uint8Array.prototype, 'set').mockImplementation(function (this: Uint8Array, from, at) {
      add(from.length)
      set.call(this, from, at)
    }),
    vi.spyOn(Uint8Array.prototype, 'copyWithin').mockImplementation(function (
      this: Uint8Array,
      target,
      start,
      end,
    ) {
      add((end ?? this.length) - start)
      return copyWithin.call(this, target, start, end)
    }),
  ]
  let counting = true
  const turn = () => {
    count.sinceLast = 0
    if (counting) setImmediate(turn)
  }
  turn()
  count.stop = () => {
    counting = false
    for (const spy of spies) spy.mockRestore()
  }
  return count
}
