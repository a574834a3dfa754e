import { afterEach, beforeEach, expect, test } from 'vitest'
import type { ModelConfig } from '../../shared/backbone.ts'
import type { CacheSlot } from './backend.ts'
import { HostKvCache } from './host-kv-cache.ts'
import { floats, type Tensors } from './tensors.ts'

const config: ModelConfig = {
  layers: 2,
  d: 8,
  heads: 2,
  kvHeads: 2,
  headDim: 4,
  ffn: 8,
  vocab: 8,
  contextLength: 4096,
  rotary: [{ theta: 10_000 }],
  rmsEps: 1e-5,
  tiedHead: true,
}

let cache: HostKvCache
/** What each slot's rows should hold, in order. */
let written: Map<CacheSlot, number[]>
let next = 1
beforeEach(() => {
  cache = new HostKvCache(config, { maxBatch: 4, cacheRows: 1000 })
  written = new Map()
})
afterEach(async () => {
  for (const slot of written.keys()) expect(await read(slot)).toEqual(written.get(slot))
})

/** Appends a row of its own number to every head of these slots, as a run of the graph would. */
async function append(...slots: CacheSlot[]): Promise<void> {
  await cache.append({ slots, gained: [1, 1] }, async ({ slots: order, outputs }) => {
    for (const [row, slot] of order.entries()) {
      const value = next++
      written.set(slot, [...(written.get(slot) ?? []), value])
      for (const tensor of Object.values(outputs))
        for (let head = 0; head < config.kvHeads; head++) {
          const at = ((row * config.kvHeads + head) * cache.capacity + slot.length) * config.headDim
          floats(tensor).fill(value, at, at + config.headDim)
        }
    }
  })
}

/** The rows of a slot, which must be the same in keys and values of all layers and heads. */
async function read(slot: CacheSlot): Promise<number[]> {
  let rows: number[] = []
  await cache.append({ slots: [slot], gained: [0, 0] }, async ({ feeds }) => {
    const all = Object.values(feeds).flatMap((tensor) =>
      Array.from({ length: config.kvHeads }, (_, head) =>
        Array.from(
          { length: slot.length },
          (_, row) => floats(tensor)[(head * cache.capacity + row) * config.headDim + 3] ?? 0,
        ),
      ),
    )
    rows = all[0] ?? []
    for (const other of all) expect(other).toEqual(rows)
  })
  return rows
}

function allocate(rows: number): CacheSlot {
  const slot = cache.allocate(rows)
  if (slot === undefined) throw new Error(`no room for ${rows} rows`)
  return slot
}

function release(slot: CacheSlot): void {
  written.delete(slot)
  slot.release()
}

test('slots of any places make up a batch, and keep their rows when they are moved', async () => {
  const [a, b, c, d] = [allocate(50), allocate(50), allocate(50), allocate(50)]
  for (let row = 0; row < 3; row++) await append(a, b, c, d)
  await append(b)
  release(a)
  await append(d, b)
  await append(c, d)
  await append(b, c, d)
})

test('a sequence that needs more rows than the slots have makes room without losing any', async () => {
  const a = allocate(100)
  await append(a)
  const before = cache.capacity
  const b = allocate(600)
  expect(cache.capacity).toBeGreaterThan(before)
  await append(a, b)
})

test('rows and slots are limited in all, and released ones come back', () => {
  const [a, b] = [allocate(600), allocate(400)]
  expect(cache.allocate(1)).toBeUndefined()
  a.release()
  a.release()
  expect(cache.allocate(601)).toBeUndefined()
  const others = [allocate(100), allocate(100), allocate(100)]
  expect(cache.allocate(1)).toBeUndefined()
  for (const slot of [b, ...others]) slot.release()
  expect(cache.capacity).toBe(0)
})

test('a slot released during a run is freed after it', async () => {
  const [a, b] = [allocate(300), allocate(300)]
  await cache.append({ slots: [a], gained: [1, 1] }, async () => {
    b.release()
    a.release()
    expect(cache.capacity).toBeGreaterThan(0)
  })
  expect(cache.capacity).toBe(0)
  await expect(append(a)).rejects.toThrow('released')
})

test('a run that fails leaves the lengths as they were', async () => {
  const a = allocate(10)
  await append(a)
  await expect(
    cache.append({ slots: [a], gained: [1, 1] }, () => Promise.reject(new Error('out of memory'))),
  ).rejects.toThrow('out of memory')
  expect(a.length).toBe(1)
  await append(a)
})

test('a slot takes no more rows than it reserved', async () => {
  const a = allocate(1)
  await append(a)
  await expect(append(a)).rejects.toThrow('do not fit')
  written.set(a, written.get(a)?.slice(0, 1) ?? [])
})

test('a layer may hold fewer rows than another, and keeps its own when the slot moves or forgets tokens', async () => {
  const [other, slot] = [allocate(20), allocate(20)]
  const rowsOf = (feeds: Tensors, layer: number, rows: number) =>
    Array.from({ length: rows }, (_, row) => floats(feeds[`past_key.${layer}`])[row * config.headDim])
  await cache.append({ slots: [slot], gained: [2, 5] }, async ({ lengths, outputs }) => {
    expect(lengths).toEqual([[0], [0]])
    for (const [layer, rows] of [2, 5].entries())
      for (let row = 0; row < rows; row++) {
        const at = row * config.headDim
        floats(outputs[`present_key.${layer}`]).fill(10 * layer + row, at, at + config.headDim)
      }
  })
  expect(slot.length).toBe(5)
  slot.rewind(1)
  expect(slot.length).toBe(4)
  release(other)
  const [third, fourth] = [allocate(20), allocate(20)]
  await append(third, fourth)
  await cache.append({ slots: [slot], gained: [0, 0] }, async ({ lengths, feeds }) => {
    expect(lengths).toEqual([[1], [4]])
    expect([rowsOf(feeds, 0, 1), rowsOf(feeds, 1, 4)]).toEqual([[0], [10, 11, 12, 13]])
  })
  expect(() => slot.rewind(2)).toThrow('cannot forget 2')
  await expect(cache.append({ slots: [slot], gained: [1, 17] }, async () => {})).rejects.toThrow('in layer 1')
})
