import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { ModelConfig } from '../../shared/backbone.ts'
import { seededSource } from '../../test/fakes/seeded-source.ts'
import { fileSha256 } from '../import/file-digest.ts'
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
        "serving": "163fff47b8d79767fabb82d0842ecad992acd8000cbd1ffa8066d0da5d7e1913",
        "trace": "f840c6f90576cb37c038e38951273a915e43c7a6cd9aea42ca5433acad8d3acc",
      },
      "q8": {
        "serving": "d3f42180851f9208f067a2102cb848f704952cc144cb6e9ff68ff324dbdb891a",
        "trace": "30e717be29f58390e517978436d312faee9f5bb244c20e5281e291244693872a",
      },
      "version": 4,
    }
  `)
})
