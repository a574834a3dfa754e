import { rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { CacheSlot, LoadedAdapter } from '../../model/runtime/backend.ts'
import { HostRows } from '../../model/runtime/host-rows.ts'
import type { OnnxBackend } from '../../model/runtime/onnx-backend.ts'
import { range } from '../../model/runtime/row-places.ts'
import { AdapterMetadata, metadataStrings } from '../../shared/adapter-file.ts'
import { randomAdapter } from './random-adapter.ts'
import { openBackend, type TinyBackbone, tinyBackbone } from './tiny-backbone.ts'

const tail = 4
const tokens = range(0, 150).map((n) => (n * 31) % 256)

let tiny: TinyBackbone
let backend: OnnxBackend
beforeAll(async () => {
  tiny = await tinyBackbone()
  backend = await openBackend(tiny, { maxBatch: 4 })
})
afterAll(async () => {
  await backend.close()
  await rm(dirname(tiny.folder), { recursive: true })
})

const late = (seed: number, settings: Readonly<Record<string, string | number>> = {}) =>
  backend.loadAdapter(randomAdapter(tiny.manifest, { seed, placement: 'late', tail, ...settings }))

function allocate(rows: number): CacheSlot {
  const slot = backend.allocate(rows)
  if (slot === undefined) throw new Error('no room')
  return slot
}

const farthest = (a: Float32Array, b: Float32Array): number => {
  expect(a.length).toBe(b.length)
  return a.reduce((most, x, i) => Math.max(most, Math.abs(x - (b[i] ?? Number.NaN))), 0)
}

test('static rows that are stacked are the rows of one adapter that has them all', async () => {
  const files = [3, 2, 4].map((rows, seed) =>
    randomAdapter(tiny.manifest, { kind: 'static', seed, l_sp: rows, placement: 'late', tail }),
  )
  const [first] = files
  if (first === undefined) throw new Error('no adapters')
  const tensors = new Map(
    [...first.tensors].map(([name, { dtype, shape }]) => {
      const data = Buffer.concat(files.map((file) => file.tensors.get(name)?.data ?? new Uint8Array(0)))
      return [name, { dtype, shape: [9, ...shape.slice(1)], data: Uint8Array.from(data) }] as const
    }),
  )
  const metadata = AdapterMetadata.parse({ ...metadataStrings(first.metadata), l_sp: '9' })
  const one = backend.loadAdapter({ ...first, metadata, tensors })
  const stack = backend.stack(files.map((file) => backend.loadAdapter(file)))
  expect(stack).toMatchObject({ rows: 9, tail, window: 0 })
  // Whole, and behind what an earlier request has read.
  for (const cached of [0, 128]) {
    const slots = [allocate(tokens.length + 10), allocate(tokens.length + 10)] as const
    const answers = []
    for (const [at, slot] of slots.entries()) {
      if (cached > 0) await backend.prefill({ slot, tokens: tokens.slice(0, cached) })
      const adapter = at === 0 ? one : stack
      const first = Float32Array.from(await backend.prefill({ slot, tokens: tokens.slice(cached), adapter }))
      const next = Float32Array.from(await backend.decode([{ slot, token: 7 }]))
      answers.push(Float32Array.of(...first, ...next))
      expect(slot.length).toBe(tokens.length + 10)
      slot.release()
    }
    const [expected = new Float32Array(0), stacked = new Float32Array(0)] = answers
    expect(farthest(stacked, expected)).toBeLessThan(1e-4)
  }
})

/** Keys and values of some of the rows behind the conversation. */
async function rowsBehind(
  adapter: LoadedAdapter,
  { from, of }: { from: number; of: number },
): Promise<Float32Array> {
  const slot = allocate(tokens.length + adapter.rows)
  await backend.prefill({ slot, tokens, adapter })
  const start = tokens.length - tail + from
  const kept = await backend.keepRows(slot, { start, end: start + of, tokens: slot.length, tail: 0 })
  slot.release()
  if (!(kept instanceof HostRows)) throw new Error('not rows of the host')
  return Float32Array.from(kept.data.flatMap((layer) => [...new Float32Array(layer.slice().buffer)]))
}

test('each part of a stack reads its own window, and sees none of the others', async () => {
  const [narrow, wide, idpg] = [
    late(1, { window: 5 }),
    late(2, { window: 30 }),
    late(3, { kind: 'idpg', generator: 'shared', pool: 'mean', window: 12 }),
  ]
  const rows = 4
  const firstRows = { from: 0, of: rows }
  const secondRows = { from: rows, of: rows }
  const alone = await rowsBehind(narrow, firstRows)
  const stack = backend.stack([narrow, wide, idpg])
  expect(stack).toMatchObject({ rows: 3 * rows, window: 30 })
  expect(farthest(await rowsBehind(stack, firstRows), alone)).toBeLessThan(1e-4)
  // Parts in front move a part's rows farther behind, whichever parts they are.
  const behindOthers = await rowsBehind(backend.stack([wide, narrow]), secondRows)
  expect(
    farthest(await rowsBehind(backend.stack([idpg, narrow, wide]), secondRows), behindOthers),
  ).toBeLessThan(1e-4)
  expect(farthest(behindOthers, alone)).toBeGreaterThan(1e-2)
})

test('a stack of one is the adapter', async () => {
  const adapter = late(1, { window: 9 })
  const [own, stacked] = [allocate(tokens.length + 4), allocate(tokens.length + 4)]
  const expected = Float32Array.from(await backend.prefill({ slot: own, tokens, adapter }))
  const actual = await backend.prefill({ slot: stacked, tokens, adapter: backend.stack([adapter]) })
  expect(farthest(actual, expected)).toBeLessThan(1e-4)
  own.release()
  stacked.release()
})

test('adapters that are not late, or have other tails, are not stacked', () => {
  const inFront = backend.loadAdapter(randomAdapter(tiny.manifest, { seed: 1 }))
  for (const other of [inFront, late(2, { tail: tail + 1 })])
    expect(() => backend.stack([late(1), other])).toThrow(
      expect.objectContaining({ code: 'invalid_request' }),
    )
})

test('late rows stand where a request says: in front of the header, though some of the answer is given', async () => {
  const adapter = late(4, { window: 9 })
  const given = range(0, 9).map((n) => (n * 13 + 3) % 256)
  const slots = [0, 1].map(() => allocate(tokens.length + given.length + adapter.rows))
  const [whole, parted] = slots
  if (whole === undefined || parted === undefined) throw new Error('no slots')
  const prompt = [...tokens, ...given]
  const together = Float32Array.from(
    await backend.prefill({ slot: whole, tokens: prompt, adapter, tail: tail + given.length }),
  )
  // The same places: the prompt up to the header with the rows, then what is given.
  await backend.prefill({ slot: parted, tokens, adapter })
  expect(farthest(await backend.prefill({ slot: parted, tokens: given }), together)).toBeLessThan(1e-4)
  for (const slot of slots) slot.release()
})
