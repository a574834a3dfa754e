import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { ModelConfig } from '../../shared/backbone.ts'
import { fileSha256 } from '../model/file-digest.ts'
import { seededSource } from '../model/seeded.ts'
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
  ropeTheta: 10_000,
  rmsEps: 1e-5,
  tiedHead: true,
})

let root: string

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'quartet-graph-'))
})

afterAll(() => rm(root, { recursive: true }))

async function hashes(weights: 'q8' | 'f32') {
  const folder = join(root, weights)
  await exportGraph(seededSource(config, 1), { weights, folder })
  const [serving, trace] = await Promise.all(
    [graphFiles.serving, graphFiles.trace].map((name) => fileSha256(join(folder, name))),
  )
  return { serving, trace }
}

it('the graphs are those of their version: when this fails, raise `graphVersion` and record the new hashes', async () => {
  expect({ version: graphVersion, q8: await hashes('q8'), f32: await hashes('f32') }).toMatchInlineSnapshot(`
    {
      "f32": {
        "serving": "56eb510af4a3bd5526fd677ee0b5420cee109f4c98d3dd927f874a21be288949",
        "trace": "677166f07322ec2ccf16b502dabe0b75e9a41d0c6f6d0a0497f64e84940c28ab",
      },
      "q8": {
        "serving": "5beddb0feb65de3bbc01680dc441c0c27ea4813fe5cbca1aa7bbe3422e6a4194",
        "trace": "180d30fa70ab5e67b2f6c8ac4b2a5fba750c16fde9e5ace4dfcb8dd93226b6fc",
      },
      "version": 2,
    }
  `)
})
