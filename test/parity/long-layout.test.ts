import { rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { range } from '../../model/runtime/row-places.ts'
import { InferenceSession } from '../../model/runtime/session.ts'
import { largestDifference } from './last-logits.ts'
import { openBackend, type TinyBackbone, tinyBackbone } from './tiny-backbone.ts'

const rows = 2200
const tokens = range(0, rows).map((n) => (n * 31) % 256)

let tiny: TinyBackbone
beforeAll(async () => {
  tiny = await tinyBackbone({ config: { contextLength: 8192, kvHeads: 4 } })
})
afterAll(async () => {
  await rm(dirname(tiny.folder), { recursive: true })
})

test('while long sequences are moved for a longer one the event loop has turns, and layers alike share the list of places', async ({
  onTestFinished,
}) => {
  const backend = await openBackend(tiny, {
    cacheLayout: 'slots',
    maxBatch: 6,
    cacheRows: 18_000,
    contextLength: 6000,
    threads: 1,
  })
  const slots = range(0, 2).map((at) => {
    const slot = backend.allocate(rows + 10)
    if (slot === undefined) throw new Error(`no room for ${at}`)
    return slot
  })
  for (const slot of slots)
    for (let at = 0; at < rows; at += 440) await backend.prefill({ slot, tokens: tokens.slice(at, at + 440) })
  const before = Float32Array.from(await backend.decode(slots.map((slot) => ({ slot, token: 5 }))))
  for (const slot of slots) slot.rewind(1)
  const long = backend.allocate(5000)
  if (long === undefined) throw new Error('no room for a long one')
  let turns = 0
  let turnsBefore: number | undefined
  const lists: number[] = []
  const { runInto } = InferenceSession.prototype
  const spy = vi.spyOn(InferenceSession.prototype, 'runInto').mockImplementation(function (
    this: InferenceSession,
    feeds,
    ...rest
  ) {
    if ('sources.0' in feeds) {
      turnsBefore ??= turns
      lists.push(new Set(range(0, 3).map((layer) => feeds[`sources.${layer}`])).size)
    }
    return runInto.call(this, feeds, ...rest)
  })
  onTestFinished(() => spy.mockRestore())
  const count = () => {
    turns++
    if (turnsBefore === undefined) setImmediate(count)
  }
  setImmediate(count)
  const after = Float32Array.from(await backend.decode(slots.map((slot) => ({ slot, token: 5 }))))
  // 2 sequences of 2,200 rows of 4 heads: listed in two pieces, copied 4,096 at a time.
  expect(turnsBefore).toBeGreaterThan(0)
  expect(lists).toEqual([1, 1, 1, 1, 1])
  expect(largestDifference(after, before)).toBe(0)
  await backend.close()
})
