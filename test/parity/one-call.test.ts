import { rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { prepareInt8Cache } from '../../model/calibration/int8-cache.ts'
import { range } from '../../model/runtime/row-places.ts'
import { largestDifference } from './last-logits.ts'
import { mixedSteps } from './mixed-steps.ts'
import { preparePagesOnCpu } from './paged-on-cpu.ts'
import { openBackend, type TinyBackbone, tinyBackbone } from './tiny-backbone.ts'

const limits = { maxBatch: 20, cacheRows: 4096, contextLength: 600, threads: 1 }

let tiny: TinyBackbone
beforeAll(async () => {
  tiny = await tinyBackbone()
  await preparePagesOnCpu(tiny)
})
afterAll(async () => {
  await rm(dirname(tiny.folder), { recursive: true })
})

test('chunks of several prompts and all decoded tokens in one call give what they give in calls of their own', async () => {
  const host = await openBackend(tiny, limits)
  const pages = await openBackend(tiny, { ...limits, cacheLayout: 'pages', cacheType: 'f16' })
  const [expected, found] = [await mixedSteps(host, tiny.manifest), await mixedSteps(pages, tiny.manifest)]
  await host.close()
  await pages.close()
  for (const [step, { logits }] of expected.entries())
    for (const [at, own] of logits.entries())
      expect(
        largestDifference(own, found[step]?.logits[at] ?? new Float32Array()),
        `step ${step}, request ${at}`,
      ).toBeLessThan(0.02)
  // Two chunks and the decoded tokens take three calls each by itself. In one, but for a second adapter's rows.
  expect(Math.max(...expected.map(({ calls }) => calls))).toBe(3)
  expect(found.filter(({ calls }) => calls === 1).length).toBeGreaterThan(found.length - 4)
  expect(Math.max(...found.map(({ calls }) => calls))).toBe(2)
})

test('an 8-bit cache in pages gives the logits of the one in host memory, chunks in one call and decoded tokens in another', async () => {
  const calibration = range(0, 200).map((n) => (n * 37 + 5) % 256)
  await prepareInt8Cache(tiny, calibration)
  await preparePagesOnCpu(tiny, { type: 'int8', tokens: calibration })
  const eightBits = { ...limits, cacheType: 'int8' } as const
  const host = await openBackend(tiny, eightBits)
  const pages = await openBackend(tiny, { ...eightBits, cacheLayout: 'pages', decodeGraph: true })
  const exact = await openBackend(tiny, limits)
  const steps = []
  for (const backend of [exact, host, pages]) {
    steps.push(await mixedSteps(backend, tiny.manifest))
    await backend.close()
  }
  const [floats = [], expected = [], found = []] = steps
  const farthest = (a: typeof found, b: typeof found) =>
    Math.max(
      ...a.flatMap(({ logits }, step) =>
        logits.map((own, at) => largestDifference(own, b[step]?.logits[at] ?? new Float32Array())),
      ),
    )
  // A value between two whole numbers of its scale may be rounded to either, as 16-bit floats come first in pages.
  expect(farthest(expected, found)).toBeLessThan(farthest(floats, expected) / 2)
  expect(farthest(floats, found)).toBeGreaterThan(0)
  const [, , ...mixed] = found.map(({ calls }) => calls).slice(0, -2)
  expect(new Set(mixed)).toEqual(new Set([2]))
})
