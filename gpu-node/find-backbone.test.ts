import { cp, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { expect, test } from 'vitest'
import { openCache } from '../model/backbone/cache.ts'
import { tinyBackbone } from '../test/parity/tiny-backbone.ts'
import { findBackbone } from './find-backbone.ts'

test('a node serves the form of a backbone that --weights names, and says which one it lacks', async ({
  onTestFinished,
}) => {
  const { folder } = await tinyBackbone({ weights: 'q4' })
  const root = dirname(folder)
  onTestFinished(() => rm(root, { recursive: true }))
  const cache = openCache({ QUARTET_CACHE: root })
  await cp(folder, cache.backbone('tiny', 'q4'), { recursive: true })
  const found = (backbone: string, weights?: 'q8' | 'q4') => findBackbone({ backbone, weights }, cache)
  expect((await found('tiny', 'q4')).folder).toBe(cache.backbone('tiny', 'q4'))
  expect((await found(folder)).manifest.weights).toBe('q4')
  await expect(found('tiny')).rejects.toThrow(
    'no backbone tiny (q8) in the cache; run `quartet backbone pull tiny --weights q8`',
  )
  await expect(found(folder, 'q8')).rejects.toThrow(
    `${folder} holds weights in q4, and --weights says q8; leave it out, or name the other folder`,
  )
})
