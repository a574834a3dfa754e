import { rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { CacheLayout } from '../model/runtime/cache-layout.ts'
import { openBackend, type TinyBackbone, tinyBackbone } from '../test/parity/tiny-backbone.ts'
import { crossingFigure } from './gpu-crossing.ts'
import { isGood } from './report.ts'

/** Many layers for its size: each brings inputs to a step. */
let backbone: TinyBackbone
beforeAll(async () => {
  backbone = await tinyBackbone({ config: { layers: 8, d: 48, heads: 3, kvHeads: 1, headDim: 16, ffn: 32 } })
})
afterAll(() => rm(dirname(backbone.folder), { recursive: true }))

async function crossing(cacheLayout: CacheLayout) {
  const backend = await openBackend(backbone, { cacheLayout })
  try {
    const { config } = backbone.manifest
    const on = { device: 'webgpu', cacheType: 'f32' } as const
    return { figure: await crossingFigure(backend, { config, on }), config }
  } finally {
    await backend.close()
  }
}

test('the inputs of a step are within the bound, and the keys of one layer more are not', async () => {
  const { figure, config } = await crossing('slots')
  expect(isGood(figure)).toBe(true)
  const keys = 4 * 512 * config.kvHeads * config.headDim * 4
  expect(isGood({ ...figure, value: figure.value + keys })).toBe(false)
  // A cache in host memory crosses as a whole.
  expect(isGood((await crossing('host')).figure)).toBe(false)
})
