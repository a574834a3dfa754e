import { rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { CacheSlot } from '../../model/runtime/backend.ts'
import { hasLoneQuery } from '../../model/runtime/lone-query.ts'
import type { OnnxBackend } from '../../model/runtime/onnx-backend.ts'
import { range } from '../../model/runtime/row-places.ts'
import type { WeightFormat } from '../../shared/backbone.ts'
import { Random } from '../../shared/prng.ts'
import { adapterVariants, allocated, decodeTogether, likeliest } from './generation.ts'
import { randomAdapter } from './random-adapter.ts'
import { openBackend, type TinyBackbone, tinyBackbone } from './tiny-backbone.ts'

const steps = 24

describe.for<WeightFormat>(['f32', 'q8'])('with %s weights', (weights) => {
  let tiny: TinyBackbone
  let backend: OnnxBackend
  beforeAll(async () => {
    tiny = await tinyBackbone({ weights })
    backend = await openBackend(tiny, { maxBatch: adapterVariants.length })
  })
  afterAll(async () => {
    await backend.close()
    await rm(dirname(tiny.folder), { recursive: true })
  })

  const prompts = () =>
    adapterVariants.map((metadata, i) => ({
      tokens: range(0, 11 + 7 * i).map((n) => (n * 31 + i) % 256),
      adapter: metadata && backend.loadAdapter(randomAdapter(tiny.manifest, { seed: i + 1, ...metadata })),
    }))

  test('requests in one batch, base and tuned, give the tokens they give alone', async () => {
    const together = await decodeTogether(backend, { prompts: prompts(), steps })
    for (const [i, prompt] of prompts().entries()) {
      const [alone] = await decodeTogether(backend, { prompts: [prompt], steps })
      expect(together[i]?.ids).toEqual(alone?.ids)
    }
  })

  test('a prompt in chunks gives what it gives whole, prompt rows included', async () => {
    const tokens = range(0, 90).map((n) => (n * 31) % 256)
    for (const metadata of adapterVariants) {
      const adapter = metadata && backend.loadAdapter(randomAdapter(tiny.manifest, { seed: 4, ...metadata }))
      const rows = tokens.length + (adapter?.rows ?? 0)
      const [whole, chunked] = [backend.allocate(rows), backend.allocate(rows)]
      if (whole === undefined || chunked === undefined) throw new Error('no room')
      const expected = Float32Array.from(
        await backend.prefill({ slot: whole, tokens, ...(adapter && { adapter }) }),
      )
      const tuned = adapter && { adapter }
      const [first, last] = adapter?.tail === undefined ? [tuned, undefined] : [undefined, tuned]
      await backend.prefill({ slot: chunked, tokens: tokens.slice(0, 16), ...first })
      await backend.prefill({ slot: chunked, tokens: tokens.slice(16, 61) })
      const logits = await backend.prefill({ slot: chunked, tokens: tokens.slice(61), ...last })
      expect(chunked.length).toBe(rows)
      expect(largestDifference(logits, expected)).toBeLessThan(weights === 'f32' ? 1e-4 : 1e-3)
      whole.release()
      chunked.release()
    }
  })

  test('a prompt gives the very logits however it is cut, where no query is alone', async () => {
    const tokens = range(0, 162).map((n) => (n * 31) % 256)
    const logitsOf = async (cuts: readonly number[]) => {
      const slot = backend.allocate(tokens.length)
      if (slot === undefined) throw new Error('no room')
      let logits = new Float32Array(0)
      for (const [at, start] of cuts.entries())
        logits = Float32Array.from(await backend.prefill({ slot, tokens: tokens.slice(start, cuts[at + 1]) }))
      slot.release()
      return logits
    }
    const whole = await logitsOf([0])
    const random = new Random(5)
    let tried = 0
    while (tried < 12) {
      const cuts = [0, ...range(1, 162).filter(() => random.next() < 0.03)]
      const lengths = cuts.map((start, at) => (cuts[at + 1] ?? tokens.length) - start)
      if (lengths.some(hasLoneQuery)) continue
      tried++
      expect(await logitsOf(cuts), cuts.join()).toEqual(whole)
    }
  })

  test('a decoded token has its logits whatever runs between steps: other batches, other orders, more results', async () => {
    const tokens = range(0, 20).map((n) => (n * 31) % 256)
    const decoded = async (between: (own: OnnxBackend, slots: readonly CacheSlot[]) => Promise<void>) => {
      const own = await openBackend(tiny, { maxBatch: 4 })
      const slots = range(0, 3).map((at) => allocated(own, 30 + at))
      for (const [at, slot] of slots.entries()) await own.prefill({ slot, tokens: tokens.slice(at) })
      const found: Float32Array[] = []
      for (const token of [7, 8]) {
        const [a, b] = slots.map((slot, at) => ({ slot, token: token + at }))
        if (a === undefined || b === undefined) throw new Error('no sequences')
        for (const batch of [[a], [b, a]]) {
          found.push(Float32Array.from(await own.decode(batch)))
          for (const { slot } of batch) slot.rewind(1)
          await between(own, slots)
        }
      }
      await own.close()
      const late = slots.map((slot) => ({ slot, token: 1 }))
      await expect(own.decode(late)).rejects.toMatchObject({ code: 'node_unavailable' })
      return found
    }
    const expected = await decoded(async () => {})
    let scored = 8
    const found = await decoded(async (own, [a, , c]) => {
      if (a === undefined || c === undefined) throw new Error('no sequences')
      await own.decode([c, a].map((slot) => ({ slot, token: 3 })))
      for (const slot of [a, c]) slot.rewind(1)
      const other = allocated(own, 20)
      // Longer each time than any run before.
      await own.score({ slot: other, tokens: tokens.slice(0, scored) }, range(0, scored))
      scored += 2
      other.release()
    })
    expect(found).toEqual(expected)
  })

  test('rows that were kept and put into another slot give the very logits, of every kind of adapter', async () => {
    const tokens = range(0, 150).map((n) => (n * 31) % 256)
    const neighbour = backend.allocate(40)
    if (neighbour === undefined) throw new Error('no room')
    await backend.prefill({ slot: neighbour, tokens: tokens.slice(0, 30) })
    for (const metadata of adapterVariants) {
      const adapter = metadata && backend.loadAdapter(randomAdapter(tiny.manifest, { seed: 4, ...metadata }))
      const rows = tokens.length + (adapter?.rows ?? 0)
      const first = backend.allocate(rows + 1)
      if (first === undefined) throw new Error('no room')
      const cold = Float32Array.from(
        await backend.prefill({ slot: first, tokens, ...(adapter && { adapter }) }),
      )
      const kept = []
      for (const start of [0, 64]) {
        const range = { start, end: start + 64, tokens: tokens.length, tail: adapter?.tail }
        kept.push(await backend.keepRows(first, range))
      }
      const next = Float32Array.from(await backend.decode([{ slot: first, token: 7 }]))
      first.release()
      const second = backend.allocate(rows + 1)
      if (second === undefined) throw new Error('no room')
      await backend.putRows(second, kept)
      const late = adapter?.tail === undefined ? {} : { adapter }
      const warm = await backend.prefill({ slot: second, tokens: tokens.slice(128), ...late })
      expect(warm).toEqual(cold)
      expect(second.length).toBe(rows)
      expect(await backend.decode([{ slot: second, token: 7 }])).toEqual(next)
      second.release()
    }
    neighbour.release()
  })

  test('sequences that come, pause and go leave the others as they were', async () => {
    const random = new Random(7)
    const waiting = range(0, 24).map((i) => {
      const metadata = adapterVariants[i % adapterVariants.length]
      const adapter = metadata && backend.loadAdapter(randomAdapter(tiny.manifest, { seed: i, ...metadata }))
      // The tenth makes every slot grow while others run.
      const tokens = range(0, i === 9 ? 300 : 5 + i).map((n) => (n * 29 + i) % 256)
      return { tokens, adapter, steps: 1 + Math.floor(random.next() * 20) }
    })
    const alone = []
    for (const { steps: count, ...prompt } of waiting)
      alone.push((await decodeTogether(backend, { prompts: [prompt], steps: count }))[0]?.ids)

    const ended: number[][] = []
    let running: { index: number; slot: CacheSlot; ids: number[]; count: number }[] = []
    const { vocab } = backend.limits
    for (let index = 0; index < waiting.length || running.length > 0; ) {
      const next = waiting[index]
      const rows = next && next.tokens.length + next.steps + (next.adapter?.rows ?? 0)
      const slot = rows === undefined || random.next() < 0.4 ? undefined : backend.allocate(rows)
      if (next !== undefined && slot !== undefined) {
        const { tokens, adapter, steps: count } = next
        const logits = await backend.prefill({ slot, tokens, ...(adapter && { adapter }) })
        running.push({ index: index++, slot, ids: [likeliest(logits)], count })
      }
      const batch = running.filter(() => random.next() < 0.8)
      if (batch.length === 0) continue
      const logits = await backend.decode(
        batch.map(({ slot: own, ids }) => ({ slot: own, token: ids.at(-1) ?? 0 })),
      )
      for (const [row, { ids }] of batch.entries())
        ids.push(likeliest(logits.subarray(row * vocab, (row + 1) * vocab)))
      for (const sequence of running.filter(({ ids, count }) => ids.length > count)) {
        sequence.slot.release()
        ended[sequence.index] = sequence.ids
      }
      running = running.filter(({ ids, count }) => ids.length <= count)
    }
    expect(ended).toEqual(alone)
  })
})

test('a run writes the cache in place: nothing of it is copied', async () => {
  const tiny = await tinyBackbone()
  const backend = await openBackend(tiny)
  const rows = backend.limits.contextLength
  const slot = backend.allocate(rows)
  if (slot === undefined) throw new Error('no room')
  await backend.prefill({ slot, tokens: [1, 2, 3] })
  const before = process.memoryUsage().arrayBuffers
  for (let step = 0; step < 50; step++) await backend.decode([{ slot, token: step }])
  // One copy of the cache a step, so many rows of 768 bytes, would come to more.
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(5 * rows * 768)
  await backend.close()
  await rm(dirname(tiny.folder), { recursive: true })
})

function largestDifference(a: Float32Array, b: Float32Array): number {
  return a.reduce((most, x, i) => Math.max(most, Math.abs(x - (b[i] ?? Number.NaN))), 0)
}
