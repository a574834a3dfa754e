import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import type { ModelConfig } from '../../shared/backbone.ts'
import type { CacheSlot } from './backend.ts'
import { type Bind, HostBuffers } from './host-buffers.ts'
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
/** Tensors that the cache bound, as to a session, and has not released. */
const bound = new Set<object>()
const bind: Bind = (tensors) => {
  const made = { ...tensors, [Symbol.dispose]: () => void bound.delete(made) }
  bound.add(made)
  return made
}
const cacheWith = (firstCapacity: number) =>
  new HostKvCache(config, { maxBatch: 4, cacheRows: 1000, contextLength: 800, firstCapacity, bind })
/** The rows that each slot should hold, in order. */
let written: Map<CacheSlot, number[]>
let next = 1
beforeEach(() => {
  cache = cacheWith(800)
  written = new Map()
})
afterEach(async () => {
  for (const slot of written.keys()) expect(await read(slot)).toEqual(written.get(slot))
  await cache.release()
  expect(bound.size).toBe(0)
})

/** Appends a row of its own number to every head of these slots, as a run of the graph would. */
async function append(...slots: CacheSlot[]): Promise<void> {
  await cache.append(
    slots.map((slot) => ({ slot, gained: [1, 1] })),
    async ({ slots: order, tensors: { outputs } }) => {
      for (const [row, slot] of order.entries()) {
        const value = next++
        written.set(slot, [...(written.get(slot) ?? []), value])
        for (const tensor of Object.values(outputs))
          for (let head = 0; head < config.kvHeads; head++) {
            const at = ((row * config.kvHeads + head) * cache.capacity + slot.length) * config.headDim
            floats(tensor).fill(value, at, at + config.headDim)
          }
      }
    },
  )
}

/** The rows of a slot, which must be the same in keys and values of all layers and heads. */
async function read(slot: CacheSlot): Promise<number[]> {
  let rows: number[] = []
  await cache.append([{ slot: slot, gained: [0, 0] }], async ({ tensors: { feeds } }) => {
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

test('sequences of any length that fits share buffers that are made once', async () => {
  const buffersOf = async (slot: CacheSlot) => {
    let buffers: ArrayBufferLike[] = []
    await cache.append([{ slot: slot, gained: [0, 0] }], async ({ tensors: { outputs } }) => {
      buffers = Object.values(outputs).map(({ data }) => data.buffer)
    })
    return buffers
  }
  const a = allocate(100)
  await append(a)
  const before = await buffersOf(a)
  const b = allocate(800)
  await append(a, b)
  release(a)
  await append(b)
  for (const [at, buffer] of (await buffersOf(b)).entries()) expect(buffer).toBe(before[at])
  release(b)
  expect(cache.allocate(801)).toBeUndefined()
})

test('runs at the same places have the same tensors; those of memory that goes are released', async () => {
  cache = cacheWith(64)
  const tensorsOf = async (...slots: CacheSlot[]) => {
    const found: object[] = []
    await cache.append(
      slots.map((slot) => ({ slot, gained: [0, 0] })),
      async ({ tensors }) => {
        expect(bound).toContain(tensors)
        found.push(tensors)
      },
    )
    return found[0]
  }
  const [a, b] = [allocate(50), allocate(60)]
  await append(a, b)
  const both = await tensorsOf(a, b)
  expect(await tensorsOf(b, a)).toBe(both)
  const alone = await tensorsOf(a)
  expect(alone).not.toBe(both)
  expect(await tensorsOf(a, b)).toBe(both)
  expect(await tensorsOf(a)).toBe(alone)
  const short = await tensorsOf(a)
  const c = allocate(600)
  const long = await tensorsOf(a)
  expect(long).not.toBe(short)
  expect(bound.size).toBe(1)
  for (const slot of [a, b, c]) release(slot)
  // Memory for short sequences again.
  expect(bound.size).toBe(0)
})

test('where room is short at first, a longer sequence makes more without losing any row', async () => {
  cache = cacheWith(64)
  const [a, b] = [allocate(50), allocate(60)]
  await append(a, b)
  await append(b)
  expect(cache.capacity).toBe(64)
  const c = allocate(600)
  await append(c, a)
  expect(cache.capacity).toBe(600)
  await append(a, b, c)
  for (const slot of [a, b, c]) release(slot)
  expect(cache.capacity).toBe(64)
})

test('sequences whose rows could not be moved are refused from then on; others keep theirs', async () => {
  const all = [allocate(50), allocate(50), allocate(50), allocate(50)] as const
  const [a, , c] = all
  await append(...all)
  vi.spyOn(HostBuffers.prototype, 'swap').mockRejectedValueOnce(new Error('out of memory'))
  await expect(append(a, c)).rejects.toThrow('out of memory')
  let lost = 0
  for (const slot of all)
    try {
      expect(await read(slot)).toEqual(written.get(slot))
    } catch (error) {
      expect(error).toMatchObject({ code: 'node_error', message: expect.stringMatching(/rows.*lost/) })
      release(slot)
      lost++
    }
  expect(lost).toBe(2)
  await append(allocate(50))
})

test('where there is no memory for a longer sequence, all keep their rows', async ({ onTestFinished }) => {
  onTestFinished(() => void vi.unstubAllGlobals())
  cache = cacheWith(64)
  const [a, b] = [allocate(50), allocate(60)]
  await append(a, b)
  await append(b)
  const c = allocate(600)
  let made = 0
  const NoRoom = class extends Uint8Array {
    constructor(length: number) {
      if (++made === 3) throw new RangeError('Array buffer allocation failed')
      super(length)
    }
  }
  vi.stubGlobal('Uint8Array', NoRoom)
  await expect(append(a)).rejects.toThrow('allocation failed')
  vi.unstubAllGlobals()
  for (const slot of [a, b]) expect(await read(slot)).toEqual(written.get(slot))
  await append(c, a)
})

test('rows and slots are limited in all, and released ones come back', () => {
  const [a, b] = [allocate(600), allocate(400)]
  expect(cache.takenRows).toBe(1000)
  expect(cache.allocate(1)).toBeUndefined()
  a.release()
  a.release()
  expect(cache.takenRows).toBe(400)
  expect(cache.allocate(601)).toBeUndefined()
  const others = [allocate(100), allocate(100), allocate(100)]
  expect(cache.allocate(1)).toBeUndefined()
  for (const slot of [b, ...others]) slot.release()
  expect(cache.allocate(800)).toBeDefined()
})

test('a slot released during a run is freed after it', async () => {
  const [a, b] = [allocate(300), allocate(300)]
  await cache.append([{ slot: a, gained: [1, 1] }], async () => {
    b.release()
    a.release()
    expect(cache.allocate(700)).toBeUndefined()
  })
  expect(cache.allocate(700)).toBeDefined()
  await expect(append(a)).rejects.toThrow('released')
})

test('a run that fails leaves the lengths as they were', async () => {
  const a = allocate(10)
  await append(a)
  await expect(
    cache.append([{ slot: a, gained: [1, 1] }], () => Promise.reject(new Error('out of memory'))),
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
  await cache.append([{ slot: slot, gained: [2, 5] }], async ({ lengths, tensors: { outputs } }) => {
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
  await cache.append([{ slot: slot, gained: [0, 0] }], async ({ lengths, tensors: { feeds } }) => {
    expect(lengths).toEqual([[1], [4]])
    expect([rowsOf(feeds, 0, 1), rowsOf(feeds, 1, 4)]).toEqual([[0], [10, 11, 12, 13]])
  })
  expect(() => slot.rewind(2)).toThrow('cannot forget 2')
  await expect(cache.append([{ slot: slot, gained: [1, 17] }], async () => {})).rejects.toThrow('in layer 1')
})

test('where there is no room for a cache, it says how much it needs and which settings lower that', ({
  onTestFinished,
}) => {
  onTestFinished(() => void vi.unstubAllGlobals())
  const settings = expect.stringMatching(/lower --max-batch or --cache-rows \(or --cache-bytes\)/)
  const long = { maxBatch: 1024, cacheRows: 2 ** 18, contextLength: 2 ** 18, firstCapacity: 1, bind }
  expect(() => new HostKvCache(config, long)).toThrow(
    expect.objectContaining({ code: 'invalid_request', message: settings }),
  )
  vi.stubGlobal(
    'Uint8Array',
    class extends Uint8Array {
      constructor(length: number) {
        if (length > 0) throw new RangeError('Array buffer allocation failed')
        super(length)
      }
    },
  )
  // 4 places of 32,768 rows, each of 2 layers with a key and a value for 2 heads of 4 numbers in f32.
  const much = { maxBatch: 4, cacheRows: 2 ** 15, contextLength: 2 ** 15, firstCapacity: 2 ** 15, bind }
  for (const expected of [/4 sequences of up to 32768 tokens need 16 MiB/, settings])
    expect(() => new HostKvCache(config, much)).toThrow(
      expect.objectContaining({
        code: 'node_unavailable',
        message: expected instanceof RegExp ? expect.stringMatching(expected) : expected,
      }),
    )
})
