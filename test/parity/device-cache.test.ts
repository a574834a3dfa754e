import { rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { prepareCacheGraph } from '../../model/calibration/cache-graph.ts'
import type { CacheSlot, KeptRows } from '../../model/runtime/backend.ts'
import { cacheRowBytes } from '../../model/runtime/cache-budget.ts'
import type { OnnxBackend } from '../../model/runtime/onnx-backend.ts'
import { cacheGraphFile } from '../../model/runtime/open-kv-cache.ts'
import { range } from '../../model/runtime/row-places.ts'
import type { Device } from '../../model/runtime/session.ts'
import type { ModelConfig } from '../../shared/backbone.ts'
import { Random } from '../../shared/prng.ts'
import { adapterVariants, scoreAll } from './generation.ts'
import { largestDifference } from './last-logits.ts'
import { preparePagesOnCpu } from './paged-on-cpu.ts'
import { randomAdapter } from './random-adapter.ts'
import { openBackend, type TinyBackbone, tinyBackbone } from './tiny-backbone.ts'

/** The cache on a device runs on the CPU provider too, whose memory is then the device's. */
const limits = { maxBatch: 6, cacheRows: 700, contextLength: 400, keptBytes: 200_000 }

let tiny: TinyBackbone
beforeAll(async () => {
  tiny = await tinyBackbone()
})
afterAll(async () => {
  await rm(dirname(tiny.folder), { recursive: true })
})

/**
 * Requests that come, are cut into chunks, pause, go back, end or are cancelled, and leave rows that others begin with: the
 * logits of every run.
 */
async function logitsOfRequests(backend: OnnxBackend, turns = 160): Promise<readonly Float32Array[]> {
  const random = new Random(11)
  const found: Float32Array[] = []
  const text = range(0, 300).map((n) => (n * 31) % 256)
  const adapters = adapterVariants.map(
    (metadata, seed) => metadata && backend.loadAdapter(randomAdapter(tiny.manifest, { seed, ...metadata })),
  )
  interface Request {
    readonly slot: CacheSlot
    readonly rows: number
    readonly tokens: readonly number[]
    readonly adapter: (typeof adapters)[number]
    done: number
    steps: number
  }
  let running: Request[] = []
  let kept: KeptRows[] = []
  for (let turn = 0; turn < turns; turn++) {
    // Every twentieth is too long for the places as they lie.
    const length = turn % 20 === 7 ? 260 : 5 + Math.floor(random.next() * 60)
    const isAgain = kept.length > 0 && random.next() < 0.4
    const adapter = isAgain ? undefined : adapters[turn % adapters.length]
    const tokens = text.slice(0, isAgain ? 64 + length : length)
    const steps = 2 + Math.floor(random.next() * 8)
    const rows = tokens.length + steps + 1 + (adapter?.rows ?? 0)
    const longest = Math.max(rows, ...running.map((request) => request.rows)) + 1
    // More than that the device has no room for; both caches are to run the same.
    const fits = (running.length + 1) * longest <= limits.cacheRows
    const slot = fits ? backend.allocate(rows) : undefined
    if (fits && running.length < limits.maxBatch) expect(slot, 'room').toBeDefined()
    if (slot !== undefined) {
      running.push({ slot, rows, tokens, adapter, done: isAgain ? 64 : 0, steps })
      if (isAgain) await backend.putRows(slot, kept)
    }
    const reading = running.find(({ done, tokens }) => done < tokens.length && random.next() < 0.7)
    if (reading !== undefined) {
      const { adapter, slot, tokens } = reading
      const end = adapter === undefined ? Math.min(tokens.length, reading.done + 40) : tokens.length
      const isTuned = adapter !== undefined && tokens.length > 2 + (adapter.tail ?? 0)
      const chunk = { slot, tokens: tokens.slice(reading.done, end), ...(isTuned && { adapter }) }
      found.push(Float32Array.from(await backend.prefill(chunk)))
      reading.done = end
      if (adapter === undefined && end === tokens.length && end >= 64 && random.next() < 0.5) {
        for (const rows of kept) rows.release()
        kept = [await backend.keepRows(slot, { start: 0, end: 64, tokens: end })]
      }
    }
    const batch = running.filter(({ done, tokens }) => done === tokens.length && random.next() < 0.8)
    if (batch.length > 0) {
      found.push(Float32Array.from(await backend.decode(batch.map(({ slot }) => ({ slot, token: turn })))))
      const [first] = batch
      if (random.next() < 0.2) first?.slot.rewind(1)
      else if (first !== undefined) first.steps--
      for (const request of batch.slice(1)) request.steps--
    }
    const ended = running.filter(({ steps }) => steps <= 0 || random.next() < 0.02)
    for (const { slot } of ended) slot.release()
    running = running.filter((request) => !ended.includes(request))
  }
  return found
}

test('a cache on the device gives the very logits of the one in host memory, whatever requests do', async () => {
  const host = await openBackend(tiny, { ...limits, cacheRows: 5000, cacheLayout: 'host' })
  const device = await openBackend(tiny, { ...limits, cacheLayout: 'slots' })
  const [expected, found] = [await logitsOfRequests(host), await logitsOfRequests(device)]
  await host.close()
  await device.close()
  expect(expected.length).toBeGreaterThan(150)
  expect(found.length).toBe(expected.length)
  for (const [at, logits] of expected.entries())
    expect(largestDifference(logits, found[at] ?? new Float32Array()), `run ${at}`).toBe(0)
})

test('a cache in pages gives the logits of the one in host memory but for 16-bit floats, whatever requests do', async () => {
  await preparePagesOnCpu(tiny)
  const room = { ...limits, cacheRows: 3072, threads: 1 }
  const host = await openBackend(tiny, { ...room, cacheLayout: 'host' })
  const pages = await openBackend(tiny, { ...room, cacheLayout: 'pages', cacheType: 'f16' })
  const [expected, found] = [await logitsOfRequests(host, 40), await logitsOfRequests(pages, 40)]
  await host.close()
  await pages.close()
  expect(found.length).toBe(expected.length)
  for (const [at, logits] of expected.entries())
    expect(largestDifference(logits, found[at] ?? new Float32Array()), `run ${at}`).toBeLessThan(0.02)
})

test('a cache of 16-bit floats takes half the memory, and moves logits little', async () => {
  await prepareCacheGraph(tiny, { layout: 'slots', type: 'f16' })
  const exact = await openBackend(tiny, { ...limits, cacheLayout: 'slots' })
  const half = await openBackend(tiny, { ...limits, cacheLayout: 'slots', cacheType: 'f16' })
  const tokens = range(0, 90).map((n) => (n * 31) % 256)
  for (const metadata of adapterVariants) {
    const loaded = (backend: OnnxBackend) =>
      metadata && backend.loadAdapter(randomAdapter(tiny.manifest, { seed: 4, ...metadata }))
    const [expected, found] = [
      await scoreAll(exact, { tokens, adapter: loaded(exact) }),
      await scoreAll(half, { tokens, adapter: loaded(half) }),
    ]
    const difference = largestDifference(found, expected)
    expect(difference).toBeGreaterThan(0)
    expect(difference).toBeLessThan(0.02)
  }
  const bytesOf = async (backend: OnnxBackend) => {
    const slot = backend.allocate(10)
    if (slot === undefined) throw new Error('no room')
    await backend.prefill({ slot, tokens: tokens.slice(0, 10) })
    const kept = await backend.keepRows(slot, { start: 0, end: 10, tokens: 10 })
    return kept.bytes
  }
  expect(2 * (await bytesOf(half))).toBe(await bytesOf(exact))
  await exact.close()
  await half.close()
})

const withoutPages: readonly { name: string; config: Partial<ModelConfig> }[] = [
  {
    name: 'windows',
    config: { attention: range(0, 3).map((layer) => ({ rotary: 0, window: layer === 1 ? null : 7 })) },
  },
  {
    name: 'angles by length',
    config: {
      rotary: [
        { theta: 10_000, beyond: { rows: 60, factors: range(0, 8).map((i) => 1 + i / 4), magnitude: 1.1 } },
      ],
    },
  },
]

test.for(withoutPages)(
  'the graph that CUDA has for a backbone with $name gives the logits of the one in host memory',
  async ({ config }, { onTestFinished }) => {
    const own = await tinyBackbone({ config })
    onTestFinished(() => rm(dirname(own.folder), { recursive: true }))
    const form = { layout: 'slots', type: 'f16' } as const
    await prepareCacheGraph(own, { ...form, device: 'cuda' })
    const fileOn = (device: Device) =>
      join(own.folder, cacheGraphFile(form, { config: own.manifest.config, device }))
    await rename(fileOn('cuda'), fileOn('cpu'))
    const logitsWith = async (options: Parameters<typeof openBackend>[1]) => {
      const backend = await openBackend(own, { ...limits, ...options, threads: 1 })
      const found: Float32Array[] = []
      const batch = []
      for (const [at, rows] of [50, 90].entries()) {
        const slot = backend.allocate(rows)
        if (slot === undefined) throw new Error('no room')
        const tokens = range(0, 45 + 30 * at).map((n) => (n * 31 + at) % 256)
        const adapter = backend.loadAdapter(randomAdapter(own.manifest, { seed: at, l_sp: 4, window: 5 }))
        found.push(Float32Array.from(await backend.prefill({ slot, tokens: tokens.slice(0, 30), adapter })))
        found.push(Float32Array.from(await backend.prefill({ slot, tokens: tokens.slice(30) })))
        batch.push({ slot, token: 7 })
      }
      found.push(Float32Array.from(await backend.decode(batch)))
      await backend.close()
      return found
    }
    const expected = await logitsWith({ cacheLayout: 'host', cacheRows: 5000 })
    const found = await logitsWith({ cacheLayout: 'slots', cacheType: 'f16' })
    for (const [run, logits] of expected.entries())
      expect(largestDifference(logits, found[run] ?? new Float32Array()), `run ${run}`).toBeLessThan(0.02)
  },
)

test('rows are kept as long as there is memory for them, and no longer than until they are released', async () => {
  // Beside those of a stack, which has 400 rows here at most.
  const keptBytes = 600 * cacheRowBytes(tiny.manifest.config, 'f32')
  const device = await openBackend(tiny, { ...limits, keptBytes, cacheLayout: 'slots' })
  const slot = device.allocate(300)
  if (slot === undefined) throw new Error('no room')
  await device.prefill({ slot, tokens: range(0, 300).map((n) => n % 256) })
  const keep = () => device.keepRows(slot, { start: 0, end: 300, tokens: 300 })
  const kept = [await keep(), await keep(), await keep()]
  await expect(keep()).rejects.toMatchObject({
    code: 'node_error',
    message: expect.stringContaining('--prefix-bytes'),
  })
  for (const rows of kept) for (let time = 0; time < 2; time++) rows.release()
  const other = device.allocate(300)
  if (other === undefined) throw new Error('no room')
  await expect(device.putRows(other, kept.slice(0, 1))).rejects.toThrow('released')
  await device.putRows(other, [await keep()])
  other.release()
  // Both places have room for the longer one's rows and the one that nobody reads.
  expect(device.allocate(20)).toBeDefined()
  expect(device.takenRows).toBe(2 * 301)
  await device.close()
})

test('NaN of one sequence stays its own: beside it, after it, and in the memory that it leaves behind', async () => {
  const file = randomAdapter(tiny.manifest, { seed: 9, kind: 'iapt', anchor: 'own', window: 16 })
  // Finite, and what they compute is not.
  const tensors = new Map(
    Array.from(file.tensors, ([name, tensor]) => {
      if (!name.endsWith('.rational')) return [name, tensor]
      return [name, { ...tensor, data: new Uint8Array(new Float32Array(12).fill(3e38).buffer) }]
    }),
  )
  const tokens = range(0, 40).map((n) => (n * 31) % 256)
  const alone = await openBackend(tiny, { ...limits, cacheLayout: 'slots' })
  const expected: Float32Array[] = []
  const slot = alone.allocate(60)
  if (slot === undefined) throw new Error('no room')
  expected.push(Float32Array.from(await alone.prefill({ slot, tokens: tokens.slice(0, 20) })))
  for (let step = 0; step < 4; step++)
    expected.push(Float32Array.from(await alone.decode([{ slot, token: step }])))
  await alone.close()

  const backend = await openBackend(tiny, { ...limits, cacheLayout: 'slots' })
  const adapter = backend.loadAdapter({ ...file, tensors })
  const { vocab } = backend.limits
  const [broken, neighbour] = [backend.allocate(60), backend.allocate(60)]
  if (broken === undefined || neighbour === undefined) throw new Error('no room')
  expect((await backend.prefill({ slot: broken, tokens, adapter })).every(Number.isNaN)).toBe(true)
  const same = (found: Float32Array, at: number) =>
    expect(largestDifference(found, expected[at] ?? new Float32Array()), `run ${at}`).toBe(0)
  same(await backend.prefill({ slot: neighbour, tokens: tokens.slice(0, 20) }), 0)
  const both = [broken, neighbour].map((own) => ({ slot: own, token: 0 }))
  same((await backend.decode(both)).subarray(vocab), 1)
  // The broken one is not in the batch, and its place runs along.
  same(await backend.decode([{ slot: neighbour, token: 1 }]), 2)
  broken.release()
  same(await backend.decode([{ slot: neighbour, token: 2 }]), 3)
  neighbour.release()
  const [first, second] = [backend.allocate(60), backend.allocate(60)]
  for (const next of [second, first]) {
    if (next === undefined) throw new Error('no room')
    same(await backend.prefill({ slot: next, tokens: tokens.slice(0, 20) }), 0)
    same(await backend.decode([{ slot: next, token: 0 }]), 1)
  }
  await backend.close()
})
