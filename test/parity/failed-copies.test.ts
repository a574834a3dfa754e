import { rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest'
import type { CacheSlot } from '../../model/runtime/backend.ts'
import type { OnnxBackend } from '../../model/runtime/onnx-backend.ts'
import { range } from '../../model/runtime/row-places.ts'
import { InferenceSession } from '../../model/runtime/session.ts'
import { largestDifference } from './last-logits.ts'
import { openBackend, type TinyBackbone, tinyBackbone } from './tiny-backbone.ts'

let tiny: TinyBackbone
beforeAll(async () => {
  tiny = await tinyBackbone({ config: { contextLength: 4096 } })
})
afterEach(() => {
  vi.restoreAllMocks()
})
afterAll(async () => {
  await rm(dirname(tiny.folder), { recursive: true })
})

const text = (seed: number, length: number) => range(0, length).map((n) => (n * 31 + seed * 7) % 256)

function allocate(backend: OnnxBackend, rows: number): CacheSlot {
  const slot = backend.allocate(rows)
  if (slot === undefined) throw new Error('no room')
  return slot
}

/** Something that comes in front of each copy of rows from now on, which has a number; where it throws, the copy fails. */
function beforeCopies(first: (copy: number) => void): void {
  const { runInto } = InferenceSession.prototype
  let copies = 0
  vi.spyOn(InferenceSession.prototype, 'runInto').mockImplementation(async function (
    this: InferenceSession,
    feeds,
    ...rest
  ) {
    if ('sources.0' in feeds) first(++copies)
    await runInto.call(this, feeds, ...rest)
  })
}

const outOfMemory = (failing: number) => (copy: number) => {
  if (copy === failing) throw new Error('out of memory')
}

const limits = { cacheLayout: 'slots', maxBatch: 6, cacheRows: 700, contextLength: 100, threads: 1 } as const

/** The logits of a request that moves to the place of one that ended. `meanwhile`: what is done before it moves. */
async function logitsAfterMove(meanwhile: (backend: OnnxBackend, own: CacheSlot) => Promise<void>) {
  const backend = await openBackend(tiny, limits)
  const [ended, own] = [allocate(backend, 60), allocate(backend, 60)]
  await backend.prefill({ slot: ended, tokens: text(1, 40) })
  await backend.prefill({ slot: own, tokens: text(2, 40) })
  ended.release()
  await meanwhile(backend, own)
  const logits = Float32Array.from(await backend.decode([{ slot: own, token: 5 }]))
  await backend.close()
  return logits
}

test('a request whose rows could not be moved once goes on with its own rows, not with an ended request’s', async () => {
  const expected = await logitsAfterMove(async () => {})
  const found = await logitsAfterMove(async (backend, own) => {
    beforeCopies(outOfMemory(1))
    await expect(backend.decode([{ slot: own, token: 5 }])).rejects.toThrow('out of memory')
    expect(own.length).toBe(40)
  })
  expect(largestDifference(found, expected)).toBe(0)
})

test('a request that comes while another’s rows are moved gets a place of its own', async () => {
  const expected = await logitsAfterMove(async () => {})
  let come: CacheSlot | undefined
  const found = await logitsAfterMove(async (backend, own) => {
    beforeCopies((copy) => {
      if (copy === 1) come = backend.allocate(60)
    })
    await backend.decode([{ slot: own, token: 5 }])
    own.rewind(1)
    if (come === undefined) throw new Error('no room')
    await backend.prefill({ slot: come, tokens: text(3, 50) })
  })
  expect(largestDifference(found, expected)).toBe(0)
})

test('requests whose rows were moved half-way are refused from then on, and those beside and after them are not', async () => {
  const backend = await openBackend(tiny, { ...limits, cacheRows: 9000, contextLength: 4000, keptBytes: 4e6 })
  const read = async (slot: CacheSlot, length: number) => {
    let logits = new Float32Array()
    for (let at = 0; at < length; at += 550)
      logits = Float32Array.from(
        await backend.prefill({ slot, tokens: text(4, length).slice(at, Math.min(length, at + 550)) }),
      )
    return logits
  }
  const lost = [allocate(backend, 1200), allocate(backend, 1200)]
  // Two runs of the copier.
  for (const slot of lost) await read(slot, 1100)
  const kept = await backend.keepRows(lost[0] ?? allocate(backend, 0), { start: 0, end: 64, tokens: 1100 })
  // Longer than the places are.
  const long = allocate(backend, 2500)
  beforeCopies(outOfMemory(2))
  await expect(read(long, 30)).rejects.toThrow('out of memory')
  for (const slot of lost) {
    const gone = { code: 'node_error', message: expect.stringMatching(/rows.*lost/) }
    await expect(backend.decode([{ slot, token: 5 }])).rejects.toMatchObject(gone)
    await expect(backend.decode([long, slot].map((own) => ({ slot: own, token: 5 })))).rejects.toMatchObject(
      gone,
    )
    await expect(backend.prefill({ slot, tokens: [1, 2, 3] })).rejects.toMatchObject(gone)
    await expect(backend.putRows(slot, [kept])).rejects.toMatchObject(gone)
    await expect(backend.keepRows(slot, { start: 0, end: 64, tokens: 1100 })).rejects.toMatchObject(gone)
  }
  const logits = await read(long, 30)
  for (const slot of lost) slot.release()
  const next = allocate(backend, 2500)
  expect(largestDifference(await read(next, 30), logits)).toBe(0)
  await backend.putRows(allocate(backend, 100), [kept])
  await backend.close()
})
