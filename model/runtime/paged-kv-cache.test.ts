import { afterEach, beforeEach, expect, test } from 'vitest'
import type { ModelConfig } from '../../shared/backbone.ts'
import { Random } from '../../shared/prng.ts'
import { copyRowsGraph } from '../graph/copy-rows.ts'
import { encodeModel } from '../graph/encode.ts'
import type { CacheSlot } from './backend.ts'
import type { KvBinding } from './kv-cache.ts'
import type { RunTensors } from './ort/device-memory.ts'
import { Pages } from './page-table.ts'
import { PagedKvCache } from './paged-kv-cache.ts'
import { InferenceSession } from './session.ts'
import { float32, int64, type Tensors } from './tensors.ts'

const config: ModelConfig = {
  layers: 2,
  d: 8,
  heads: 2,
  kvHeads: 2,
  headDim: 8,
  ffn: 8,
  vocab: 8,
  contextLength: 4096,
  rotary: [{ theta: 10_000 }],
  rmsEps: 1e-5,
  tiedHead: true,
}
/** As ONNX Runtime's CUDA provider wants them for heads of 8 numbers. */
const pageRows = 256

/** Copies rows between the host and the cache, which on the CPU provider is memory of the host too. */
let copier: InferenceSession
let cache: PagedKvCache
beforeEach(async () => {
  const graph = copyRowsGraph({ layers: config.layers, type: 'float32', width: config.headDim })
  copier = await InferenceSession.fromModel(encodeModel(graph, { weightsFile: '', opset: 18 }), {
    device: 'cpu',
  })
  cache = await PagedKvCache.open(config, {
    device: 'cpu',
    type: 'float32',
    memory: copier.memoryOf(['from_key.0']),
    limits: { maxBatch: 4, cacheRows: 8 * pageRows, contextLength: 700, prefixRows: 600 },
  })
})
afterEach(async () => {
  await cache.release()
  await copier.release()
})

function numbers(positions: Tensors, name: string): readonly number[] {
  const tensor = positions[name]
  if (tensor?.type !== 'int32') throw new Error(`no numbers ${name}`)
  return [...tensor.data]
}

/**
 * Where PagedAttention has a sequence's rows, by its own rule: row `position` is row `position % page rows` of the page that
 * the sequence's part of the block table has at `position / page rows`.
 */
function rowsByTable(
  { positions, slots }: KvBinding,
  { from, sequence, to }: { from: number; sequence: number; to: number },
): readonly number[] {
  const table = numbers(positions, 'block_table')
  const width = table.length / slots.length
  return Array.from({ length: to - from }, (_, at) => {
    const position = from + at
    const page = table[sequence * width + Math.floor(position / pageRows)] ?? Number.NaN
    return page * pageRows + (position % pageRows)
  })
}

/** Copies rows of every layer, keys and values alike; `from` and `to` in heads' rows. */
async function copyAll({
  from,
  sources,
  targets,
  to,
}: {
  from: (name: string) => RunTensors[string]
  to: (name: string) => RunTensors[string]
  sources: readonly number[]
  targets: readonly number[]
}): Promise<void> {
  const heads = (rows: readonly number[]) =>
    rows.flatMap((row) => [row * config.kvHeads, row * config.kvHeads + 1])
  const feeds: Record<string, RunTensors[string]> = {}
  const outputs: Record<string, RunTensors[string]> = {}
  for (let layer = 0; layer < config.layers; layer++) {
    feeds[`sources.${layer}`] = int64(heads(sources))
    feeds[`targets.${layer}`] = int64(heads(targets), [2 * targets.length, 1])
    for (const part of ['key', 'value']) {
      const target = to(`${part}.${layer}`)
      feeds[`from_${part}.${layer}`] = from(`${part}.${layer}`)
      feeds[`to_${part}.${layer}`] = target
      outputs[`copied_${part}.${layer}`] = target
    }
  }
  await copier.runInto(feeds, outputs)
}

/** The cache as heads' rows. */
function flat(tensor: RunTensors[string] | undefined): RunTensors[string] {
  if (tensor === undefined || !('as' in tensor)) throw new Error('not on the device')
  return tensor.as([8 * pageRows * config.kvHeads, config.headDim])
}

let next = 1
/** The numbers that each slot's rows should hold. */
const written = new Map<CacheSlot, number[]>()

/** Writes new rows as the operator would, each of a number of its own. */
async function append(slots: readonly CacheSlot[], gained: number): Promise<void> {
  await cache.append(
    slots.map((slot) => ({ slot, gained: [gained, gained] })),
    async (binding) => {
      const {
        positions,
        tensors: { feeds, outputs },
      } = binding
      const starts = numbers(positions, 'row_starts').slice(0, slots.length + 1)
      const past = numbers(positions, 'past_rows').slice(0, slots.length)
      expect(starts).toEqual(slots.map((_, at) => at * gained).concat(slots.length * gained))
      const values = Array.from({ length: slots.length * gained }, () => next++)
      const rows = float32(
        Float32Array.from({ length: values.length * 16 }, (_, at) => values[Math.floor(at / 16)] ?? 0),
        [2 * values.length, 8],
      )
      const targets = past.flatMap((from, sequence) =>
        rowsByTable(binding, { from, sequence, to: from + gained }),
      )
      const sources = values.map((_, at) => at)
      await copyAll({ from: () => rows, to: (name) => flat(outputs[`present_${name}`]), sources, targets })
      expect(Object.keys(feeds)).toContain('past_key.1')
      for (const [at, slot] of slots.entries())
        written.set(slot, [...(written.get(slot) ?? []), ...values.slice(at * gained, (at + 1) * gained)])
    },
  )
}

/** The numbers in a slot's rows, found through the block table, the same in keys and values of both layers. */
async function read(slot: CacheSlot): Promise<readonly number[]> {
  const found = new Map<string, Float32Array>()
  await cache.append([{ slot: slot, gained: [0, 0] }], async (binding) => {
    const sources = rowsByTable(binding, { from: 0, sequence: 0, to: slot.length })
    const into = (name: string) => {
      const rows = found.get(name) ?? new Float32Array(slot.length * 16)
      found.set(name, rows)
      return float32(rows, [2 * slot.length, 8])
    }
    const targets = sources.map((_, at) => at)
    await copyAll({ from: (name) => flat(binding.tensors.feeds[`past_${name}`]), to: into, sources, targets })
  })
  const [first, ...others] = found.values()
  for (const other of others) expect(other).toEqual(first)
  return Array.from({ length: slot.length }, (_, row) => first?.[row * 16 + 11] ?? Number.NaN)
}

function allocate(rows: number): CacheSlot {
  const slot = cache.allocate(rows)
  if (slot === undefined) throw new Error(`no room for ${rows} rows`)
  return slot
}

test('every row lies where the block table says, whichever pages a sequence has', async () => {
  const random = new Random(3)
  const slots: CacheSlot[] = []
  for (let turn = 0; turn < 60; turn++) {
    const slot = random.next() < 0.5 ? cache.allocate(100 + Math.floor(random.next() * 600)) : undefined
    if (slot !== undefined) slots.push(slot)
    const batch = slots.filter(() => random.next() < 0.7)
    if (batch.length > 0 && batch.every(({ length }) => length < 60))
      await append(batch, 1 + Math.floor(random.next() * 40))
    const [first] = slots
    if (first !== undefined && first.length < 40) await append([first], 40)
    if (random.next() < 0.3) for (const ended of slots.splice(0, 1)) ended.release()
  }
  expect(slots.length).toBeGreaterThan(0)
  for (const slot of slots) expect(await read(slot)).toEqual(written.get(slot) ?? [])
})

test('rows that are kept over a page’s edge come back in another slot, in other pages', async () => {
  const [a, b] = [allocate(600), allocate(600)]
  await append([a], 300)
  await append([a], 1)
  const kept = await cache.keep(a, { start: 0, end: 290, tokens: 301 })
  const rows = (written.get(a) ?? []).slice(0, 290)
  a.release()
  await cache.put(b, [kept])
  expect(await read(b)).toEqual(rows)
  written.set(b, rows)
  await append([b], 5)
  expect(await read(b)).toEqual(written.get(b))
  kept.release()
})

test('pages are taken for all that a slot reserves, and there are no more than the memory holds', async () => {
  const slots = [allocate(700), allocate(257)]
  // 3 and 2 of the 8 pages.
  expect(cache.takenRows).toBe(5 * 256)
  expect(cache.allocate(701)).toBeUndefined()
  expect(cache.allocate(700)).toBeDefined()
  expect(cache.allocate(1)).toBeUndefined()
  for (const slot of slots) slot.release()
  slots[0]?.release()
  expect(cache.takenRows).toBe(3 * 256)
  expect(cache.allocate(700)).toBeDefined()
  const full = allocate(256)
  await append([full], 250)
  await expect(append([full], 10)).rejects.toMatchObject({ code: 'internal_error' })
  expect(await read(full)).toEqual(written.get(full))
  await expect(read(slots[1] ?? full)).rejects.toThrow('released')
})

test('a block table that a sequence would leave is refused, with how much its pages hold', () => {
  const pages = new Pages({ count: 4, pageRows: 16 })
  const [own, other] = [pages.take(20) ?? [], pages.take(16) ?? []]
  expect(pages.free).toBe(1)
  expect(
    pages.blockTable([
      { pages: own, rows: 32 },
      { pages: other, rows: 3 },
    ]),
  ).toEqual({
    table: [...own, ...other, ...other],
    width: 2,
  })
  expect(() => pages.blockTable([{ pages: other, rows: 17 }])).toThrow(/17 rows do not fit.*hold 16/)
  expect(() => pages.rowAt(own, 32)).toThrow(/33 rows do not fit.*hold 32/)
  expect(pages.take(17)).toBeUndefined()
})
