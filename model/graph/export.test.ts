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
        "serving": "e3b3080694cb4e4afcebff42dbf3dd60e8ad57235ca408c42eb1eb01d026e28f",
        "trace": "7196282d3906c0254feb786d126151187eafedf2bdcb9ca8ca2e28f7fe704adc",
      },
      "q4": {
        "serving": "26c5a47583d6c6a86af9f7ad3c41118825943b76dd718473c206fe271f44fdd6",
        "trace": "b4754797c5dd7b8b41477eac0571faea00aecd4caebe75e9a04189ac873ca658",
      },
      "q8": {
        "serving": "9c61586dc7bd93559c39ba6e11591cc7c62234d98c3f501fe07ee18f3cd6e83d",
        "trace": "69c570ad00c2b89b3ad7b85d5fd2d00620c370f7aeb55788e0cf69c78171b823",
      },
      "version": 8,
    }
  `)
})
