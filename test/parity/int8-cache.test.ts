import { readdir, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { cacheScales, prepareInt8Cache } from '../../model/calibration/int8-cache.ts'
import { HostRows } from '../../model/runtime/host-rows.ts'
import { hasLoneQuery } from '../../model/runtime/lone-query.ts'
import type { OnnxBackend } from '../../model/runtime/onnx-backend.ts'
import { range } from '../../model/runtime/row-places.ts'
import { adapterVariants, decodeTogether, scoreAll } from './generation.ts'
import { randomAdapter } from './random-adapter.ts'
import { openBackend, type TinyBackbone, tinyBackbone } from './tiny-backbone.ts'

let tiny: TinyBackbone
let exact: OnnxBackend
let eightBits: OnnxBackend
beforeAll(async () => {
  tiny = await tinyBackbone({ weights: 'q8' })
  await prepareInt8Cache(
    tiny,
    range(0, 200).map((n) => (n * 37 + 5) % 256),
  )
  exact = await openBackend(tiny, { maxBatch: adapterVariants.length })
  eightBits = await openBackend(tiny, { maxBatch: adapterVariants.length, cacheType: 'int8' })
})
afterAll(async () => {
  await exact.close()
  await eightBits.close()
  await rm(dirname(tiny.folder), { recursive: true })
})

const tokens = range(0, 162).map((n) => (n * 31) % 256)
const loaded = (backend: OnnxBackend, metadata: (typeof adapterVariants)[number]) =>
  metadata && backend.loadAdapter(randomAdapter(tiny.manifest, { seed: 4, ...metadata }))

test('an 8-bit cache moves logits little, of the untuned model and of every kind of adapter', async () => {
  for (const metadata of adapterVariants) {
    const [expected, found] = [
      await scoreAll(exact, { tokens, adapter: loaded(exact, metadata) }),
      await scoreAll(eightBits, { tokens, adapter: loaded(eightBits, metadata) }),
    ]
    const difference = Math.sqrt(meanSquare(found.map((x, at) => x - (expected[at] ?? Number.NaN))))
    expect(difference / Math.sqrt(meanSquare(expected))).toBeLessThan(0.1)
    expect(difference).toBeGreaterThan(0)
  }
})

test('scales leave half as much room again above the largest key and value of the text', async () => {
  const scales = await cacheScales(tiny, tokens)
  const slot = exact.allocate(tokens.length)
  if (slot === undefined) throw new Error('no room')
  await exact.prefill({ slot, tokens })
  const kept = await exact.keepRows(slot, { start: 0, end: tokens.length, tokens: tokens.length })
  slot.release()
  if (!(kept instanceof HostRows)) throw new Error('rows of the host were expected')
  for (const [at, bytes] of kept.data.entries()) {
    const { key, value } = scales[at >> 1] ?? {}
    const scale = Math.max(...((at % 2 === 0 ? key : value) ?? []))
    const largest = new Float32Array(bytes.slice().buffer).reduce((most, x) => Math.max(most, Math.abs(x)), 0)
    expect((127 * scale) / largest).toBeCloseTo(1.5, 3)
  }
})

test('kept rows take a quarter of the memory, and put into another slot they give the very logits', async () => {
  const first = eightBits.allocate(tokens.length)
  const floats = exact.allocate(tokens.length)
  if (first === undefined || floats === undefined) throw new Error('no room')
  const cold = Float32Array.from(await eightBits.prefill({ slot: first, tokens }))
  await exact.prefill({ slot: floats, tokens })
  const stretch = { start: 0, end: 128, tokens: tokens.length }
  const kept = await eightBits.keepRows(first, stretch)
  expect(4 * kept.bytes).toBe((await exact.keepRows(floats, stretch)).bytes)
  first.release()
  floats.release()
  const second = eightBits.allocate(tokens.length)
  if (second === undefined) throw new Error('no room')
  await eightBits.putRows(second, [kept])
  expect(await eightBits.prefill({ slot: second, tokens: tokens.slice(128) })).toEqual(cold)
  second.release()
})

test('scales that the CPU cannot measure are refused with the settings that need none', async () => {
  const manifest = { ...tiny.manifest, weights: 'bf16' } as const
  await expect(cacheScales({ ...tiny, manifest })).rejects.toMatchObject({
    code: 'invalid_request',
    param: '--cache-type',
    message: expect.stringMatching(/bf16 weights.*--cache-type f16.*--weights f16 or q8/),
  })
})

test('scales are not measured where the tokenizer makes nothing of the text', async () => {
  await expect(cacheScales(tiny)).rejects.toMatchObject({
    code: 'backbone_invalid',
    message: expect.stringMatching(/tokenizer makes no tokens.*--cache-type/),
  })
})

test('a prompt gives the very logits however it is cut', async () => {
  const logitsOf = async (lengths: readonly number[]) => {
    const slot = eightBits.allocate(tokens.length)
    if (slot === undefined) throw new Error('no room')
    let logits = new Float32Array(0)
    let start = 0
    for (const length of lengths) {
      const piece = tokens.slice(start, start + length)
      logits = Float32Array.from(await eightBits.prefill({ slot, tokens: piece }))
      start += length
    }
    slot.release()
    return logits
  }
  const whole = await logitsOf([162])
  for (const lengths of [
    [64, 98],
    [16, 80, 66],
    [100, 60, 2],
  ]) {
    expect(lengths.some(hasLoneQuery)).toBe(false)
    expect(await logitsOf(lengths), lengths.join()).toEqual(whole)
  }
})

test('requests in one batch, base and tuned, give the tokens they give alone', async () => {
  const prompts = () =>
    adapterVariants.map((metadata, at) => ({
      tokens: tokens.slice(0, 11 + 7 * at),
      adapter: loaded(eightBits, metadata),
    }))
  const together = await decodeTogether(eightBits, { prompts: prompts(), steps: 8 })
  for (const [at, prompt] of prompts().entries()) {
    const [alone] = await decodeTogether(eightBits, { prompts: [prompt], steps: 8 })
    expect(together[at]?.ids).toEqual(alone?.ids)
  }
})

test('the graph is made once, and a device has no such cache', async () => {
  const files = await readdir(tiny.folder)
  expect(files.filter((name) => name.startsWith('int8-cache')).length).toBe(1)
  await prepareInt8Cache(tiny, [1])
  expect(await readdir(tiny.folder)).toEqual(files)
  await expect(openBackend(tiny, { cacheType: 'int8', device: 'webgpu' })).rejects.toMatchObject({
    code: 'invalid_request',
    param: '--cache-type',
  })
})

const meanSquare = (values: Float32Array) => values.reduce((sum, x) => sum + x * x, 0) / values.length
