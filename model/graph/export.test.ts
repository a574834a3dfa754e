import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { ModelConfig } from '../../shared/backbone.ts'
import { seededSource } from '../../test/fakes/seeded-source.ts'
import { fileSha256 } from '../backbone/file-digest.ts'
import { exportGraph, graphFiles } from './export.ts'
import { graphVersion } from './version.ts'

const config = ModelConfig.parse({
  layers: 2,
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
})

let root: string

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'quartet-graph-'))
})

afterAll(() => rm(root, { recursive: true }))

async function hashes(weights: 'q8' | 'q4' | 'f32') {
  const folder = join(root, weights)
  await exportGraph(seededSource(config, 1), { weights, folder })
  const [serving, trace] = await Promise.all(
    [graphFiles.serving, graphFiles.trace].map((name) => fileSha256(join(folder, name))),
  )
  return { serving, trace }
}

it('the graphs are those of their version: when this fails, raise `graphVersion` and record the new hashes', async () => {
  expect({
    version: graphVersion,
    q8: await hashes('q8'),
    q4: await hashes('q4'),
    f32: await hashes('f32'),
  }).toMatchInlineSnapshot(`
    {
      "f32": {
        "serving": "356dbeac2b8eed1a266aebbd3b592f3d2427b5dbd0e35ac4dcd532c61c2774bd",
        "trace": "7196282d3906c0254feb786d126151187eafedf2bdcb9ca8ca2e28f7fe704adc",
      },
      "q4": {
        "serving": "9d8bc37eff903f18d167cee7764c9cecfbabbfbb5ed2ada61db62067e8fcd363",
        "trace": "b4754797c5dd7b8b41477eac0571faea00aecd4caebe75e9a04189ac873ca658",
      },
      "q8": {
        "serving": "63b65424fe7dc0435f3a57d9373091961a881dab783c325220570c6530eab073",
        "trace": "69c570ad00c2b89b3ad7b85d5fd2d00620c370f7aeb55788e0cf69c78171b823",
      },
      "version": 7,
    }
  `)
})
