import { rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { largestDifference } from './last-logits.ts'
import { mixedSteps } from './mixed-steps.ts'
import { preparePagesOnCpu } from './paged-on-cpu.ts'
import { openBackend, type TinyBackbone, tinyBackbone } from './tiny-backbone.ts'

const limits = { maxBatch: 20, cacheRows: 8192, contextLength: 600, threads: 1 }

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
