import { rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { openBackend, tinyBackbone, tinyConfig } from '../../test/parity/tiny-backbone.ts'
import { floatBytes } from './prefill-weights.ts'

test.runIf(process.platform === 'linux')(
  'what making the copy in f32 took beside it goes back to the system',
  { timeout: 60_000 },
  async () => {
    const config = { ...tinyConfig, layers: 3, d: 384, heads: 6, kvHeads: 2, headDim: 64, ffn: 1024 }
    const tiny = await tinyBackbone({ config, weights: 'q4' })
    onTestFinished(() => rm(dirname(tiny.folder), { recursive: true }))
    const before = process.memoryUsage.rss()
    const backend = await openBackend(tiny, { threads: 1, prefillWeights: 'f32' })
    onTestFinished(() => backend.close())
    const held = (process.memoryUsage.rss() - before) / floatBytes(config)
    // The copy, and about half of it for the stored weights, the cache and the library.
    expect(held).toBeGreaterThan(1)
    expect(held).toBeLessThan(2.2)
  },
)
