import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { beforeAll, describe, expect, onTestFinished, type TestContext, test } from 'vitest'
import { defaultBackbone } from '../../cli/command/settings.ts'
import { demoTenants } from '../../cli/local/demo.ts'
import { obtainBackbone } from '../../cli/local/local-backbone.ts'
import { servingDecoder } from '../../cli/tokenizer/serving-decoder.ts'
import { servingEncoder } from '../../cli/tokenizer/serving-encoder.ts'
import type { Backbone } from '../../model/backbone/backbone-folder.ts'
import { parseAdapterFile } from '../../shared/adapter-file.ts'
import { parametersOf } from '../../training/as-written.ts'
import { readDataset, requireExamples } from '../../training/data/dataset.ts'
import { overlap } from '../../training/data/survey.ts'
import { openEvaluationBackend } from '../../training/evaluation/evaluate.ts'
import { measure } from '../../training/evaluation/measure.ts'
import { metricsOf } from '../../training/evaluation/metrics.ts'
import { meanLoss } from '../../training/loss/batch-loss.ts'
import { openLossModel } from '../../training/loss/onnx-loss-model.ts'
import { TrainSettings } from '../../training/settings.ts'

/** The trained adapters that come with the project, on the held-out data beside them, through what serves them. */

const demo = new URL('../../demo/', import.meta.url)
const maxBytes = 1.5 * 1000 * 1000
const trained = [
  { alias: 'tickets', least: 0.8 },
  { alias: 'orders', least: 0.8 },
] as const

let backbone: Backbone
beforeAll(async () => {
  backbone = await obtainBackbone(defaultBackbone, { signal: new AbortController().signal })
})

const read = async (name: string) => new Uint8Array(await readFile(new URL(name, demo)))

async function examplesOf(name: string) {
  const encoder = await servingEncoder(backbone)
  const reading = await readDataset(new URL(name, demo).pathname, { encoder, prompts: 'chat', room: 1024 })
  return requireExamples(reading, { least: 50 }).examples
}

/** Skips the test where the adapter is for other weights than this machine has. */
async function adapterOf(alias: string, skip: TestContext['skip']) {
  const file = parseAdapterFile(await read(`${alias}.safetensors`))
  skip(
    file.metadata.backbone_sha256 !== backbone.manifest.digest,
    'the backbone on this machine has other weights than those that the adapter was trained for',
  )
  return file
}

test('the demo shows each of them', async () => {
  const shown = (await demoTenants()).filter(({ adapter }) => adapter.made === 'trained')
  expect(shown.map(({ alias }) => alias)).toEqual(trained.map(({ alias }) => alias))
})

describe.each(trained)('$alias', ({ alias, least }) => {
  test('is small, and was trained on the data that comes with it', async () => {
    const bytes = await read(`${alias}.safetensors`)
    const { metadata, provenance } = parseAdapterFile(bytes)
    expect(bytes.length).toBeLessThan(maxBytes)
    expect(metadata.kind).toBe('iapt')
    const data = await read(`${alias}.train.jsonl`)
    expect(provenance['train.data']).toBe(createHash('sha256').update(data).digest('hex'))
  })

  test('was not trained on what it is measured on', async () => {
    const [train, dev] = [
      await examplesOf(`${alias}.train.jsonl`),
      await examplesOf(`${alias}.heldout.jsonl`),
    ]
    expect(overlap({ train, dev })).toBe(0)
  })

  test(`answers at least ${100 * least} % of the held-out prompts exactly, and the untuned model none`, async ({
    skip,
  }) => {
    const file = await adapterOf(alias, skip)
    const examples = (await examplesOf(`${alias}.heldout.jsonl`)).slice(0, 16)
    const maxTokens = 48
    const backend = await openEvaluationBackend(backbone, { examples, maxTokens, promptRows: 4, threads: 1 })
    onTestFinished(() => backend.close())
    const options = {
      backend,
      examples,
      parts: new Set(['answers'] as const),
      choices: [],
      maxTokens,
      stopTokens: backbone.manifest.tokens.eos,
      decode: await servingDecoder(backbone),
    }
    const tuned = await measure(options, { adapter: backend.loadAdapter(file) })
    expect(metricsOf(tuned, { seed: 0 }).exactMatch?.value).toBeGreaterThanOrEqual(least)
    const some = { ...options, examples: examples.slice(0, 4) }
    const untuned = await measure(some, { adapter: undefined })
    expect(metricsOf(untuned, { seed: 0 }).exactMatch?.value).toBe(0)
  })
})

test('orders has the loss in training, in f32, that it has where it is served, in 8 bits', async ({
  skip,
}) => {
  const file = await adapterOf('orders', skip)
  // The two losses differ by chance from token to token, so that it takes a hundred tokens, and of its own answers the adapter
  // is so sure that next to nothing is left to compare: these are each of another prompt.
  const some = (await examplesOf('orders.heldout.jsonl')).slice(0, 8)
  const examples = some.map((example, at) => ({
    ...example,
    response: (some.at(at - 1) ?? example).response,
  }))
  const model = await openLossModel({ backbone, metadata: file.metadata, threads: 1 })
  onTestFinished(() => model.close())
  const settings = TrainSettings.parse({ steps: 1, evaluateEvery: 1 })
  const trained = await meanLoss(model, { ...settings, examples, parameters: parametersOf(file) })

  const backend = await openEvaluationBackend(backbone, { examples, maxTokens: 1, promptRows: 4, threads: 1 })
  onTestFinished(() => backend.close())
  const parts = new Set(['likelihood'] as const)
  const options = { backend, examples, parts, choices: [], maxTokens: 1, stopTokens: [], decode: String }
  const served = metricsOf(await measure(options, { adapter: backend.loadAdapter(file) }), { seed: 0 })
  expect(trained).toBeGreaterThan(1)
  expect(Math.abs((served.loss?.value ?? Number.NaN) / trained - 1)).toBeLessThan(0.03)
}, 300_000)
