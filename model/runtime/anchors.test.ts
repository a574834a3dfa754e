import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { ModelConfig } from '../../shared/backbone.ts'
import { seededSource } from '../../test/fakes/seeded-source.ts'
import { exportGraph } from '../graph/export.ts'
import { computeAnchors } from './anchors.ts'
import { Trace } from './trace.ts'

test.for([1, 2, 7])(
  'anchors of %i layers are the same, however few layers are loaded at a time',
  async (layers, { onTestFinished }) => {
    const folder = await mkdtemp(join(tmpdir(), 'quartet-anchors-'))
    onTestFinished(() => rm(folder, { recursive: true }))
    const config = ModelConfig.parse({
      layers,
      d: 64,
      heads: 4,
      kvHeads: 2,
      headDim: 16,
      ffn: 96,
      vocab: 128,
      contextLength: 64,
      rotary: [{ theta: 10_000 }],
      rmsEps: 1e-5,
      tiedHead: true,
      // Norms behind the blocks: anchors are kept as they are.
      norms: 'after',
    })
    const weights = await exportGraph(seededSource(config, 1), { weights: 'q8', folder })
    const files = await readdir(folder)
    const trace = await Trace.open(folder)
    const whole = await trace.hiddenStates([5])
    await trace.release()
    const layerBytes = 4 * (64 * 12 * 16 + 3 * 64 * 96)
    for (const bytesAtOnce of [1, 2 * layerBytes, 3 * layerBytes, 2 ** 30])
      expect(await computeAnchors(folder, { config, weights, firstToken: 5, bytesAtOnce })).toEqual(whole)
    expect(await readdir(folder)).toEqual(files)
  },
)
