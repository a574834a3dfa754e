import { rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { readWeights } from '../../model/graph/stored-weights.ts'
import type { OnnxBackend } from '../../model/runtime/onnx-backend.ts'
import type { AdapterFile } from '../../shared/adapter-file.ts'
import { Random } from '../../shared/prng.ts'
import type { Example } from '../../training/data/example.ts'
import type { RowPlaces } from '../../training/graph/placement.ts'
import { meanGradients, responseLosses } from '../../training/loss/batch-loss.ts'
import { type OnnxLossModel, openLossModel } from '../../training/loss/onnx-loss-model.ts'
import { adapterVariants } from './generation.ts'
import { randomAdapter } from './random-adapter.ts'
import { responseLogLikelihood } from './response-likelihood.ts'
import { distance, parametersOf, slope, sum } from './slope.ts'
import { openBackend, type TinyBackbone, tinyBackbone } from './tiny-backbone.ts'

/** Training's own graphs against the serving graph, and their gradients against their losses. */

let tiny: TinyBackbone
let backend: OnnxBackend
beforeAll(async () => {
  tiny = await tinyBackbone()
  backend = await openBackend(tiny)
})
afterAll(async () => {
  await backend?.close()
  await rm(dirname(tiny.folder), { recursive: true })
})

const random = new Random(3)
const tokens = (count: number) => Array.from({ length: count }, () => Math.floor(random.next() * 256))
/** Lengths differ, so that there is padding; an instruction of one token, a response of one, both. */
const batch: readonly Example[] = [
  { instruction: tokens(9), response: tokens(5) },
  { instruction: tokens(1), response: tokens(17) },
  { instruction: tokens(20), response: tokens(1) },
  { instruction: tokens(1), response: tokens(1) },
]

/** In front of late rows stands one token at least. */
const lateBatch = batch.map(({ instruction, response }) => ({
  instruction: [...instruction, ...tokens(4)],
  response,
}))
/** Newest turns that are the whole prompt, and such that begin within it. */
const turnBatch: readonly Example[] = lateBatch.map((example, at) => ({
  ...example,
  turn: [3, 0, 21, 0][at],
}))
const batchFor = ({ metadata: { placement } }: AdapterFile) =>
  placement === 'late' ? lateBatch : placement === 'turn' ? turnBatch : batch

const placements = ['first', 'after-first'] as const
const anchors = ['sink', 'own', 'none'] as const
const everyStart = placements.flatMap((placement) => anchors.map((anchor) => ({ placement, anchor })))
const variants = [
  ...everyStart.map((start) => ({ kind: 'static', ...start })),
  { kind: 'static', l_sp: 1 },
  { kind: 'static', l_sp: 20, precision: 'f32', placement: 'after-first' },
  ...everyStart.map((start) => ({ kind: 'iapt', activation: 'gelu', ...start })),
  ...['rational', 'gelu', 'relu'].map((activation) => ({ kind: 'iapt', activation, window: 6 })),
  ...everyStart.map((start) => ({ kind: 'idpg', pool: 'mean', at: 1, ...start })),
  { kind: 'lpt', at: 0, pool: 'max', anchor: 'sink' },
  { kind: 'lpt', at: 2, pool: 'attention', anchor: 'own', placement: 'after-first' },
  { kind: 'ipt', anchor: 'own', placement: 'after-first' },
  ...anchors.flatMap((anchor) => [
    { kind: 'iapt', activation: 'gelu', placement: 'late', tail: 4, anchor },
    { kind: 'static', placement: 'late', tail: 2, anchor },
    { kind: 'idpg', placement: 'late', tail: 1, pool: 'max', anchor },
    { kind: 'iapt', activation: 'gelu', placement: 'turn', anchor, window: 6 },
  ]),
  ...adapterVariants.flatMap((variant) => variant ?? []),
]
const named = Array.from(
  new Map(variants.map((variant) => [JSON.stringify(variant), variant as Record<string, string | number>])),
)

interface Tried {
  readonly checkpointing?: boolean
  readonly places?: RowPlaces
}

/** A second thread would only wait busily for work as small as this. */
const openModel = ({ metadata }: AdapterFile, options: Tried = {}) =>
  openLossModel({ backbone: tiny, metadata, threads: 1, ...options })

async function withModel<T>(
  adapter: AdapterFile,
  options: Tried,
  use: (model: OnnxLossModel) => Promise<T>,
): Promise<T> {
  const model = await openModel(adapter, options)
  try {
    return await use(model)
  } finally {
    await model.close()
  }
}

describe.for(named)('%s', ([, variant]) => {
  let adapter: AdapterFile
  let model: OnnxLossModel
  beforeAll(async () => {
    adapter = randomAdapter(tiny.manifest, { seed: 5, ...variant })
    model = await openModel(adapter)
  })
  afterAll(() => model?.close())

  test('training’s forward pass gives each example the likelihood that serving gives it', async () => {
    const examples = batchFor(adapter)
    const losses = await model.score(examples, parametersOf(adapter))
    const loaded = backend.loadAdapter(adapter)
    for (const [index, example] of examples.entries()) {
      const served = await responseLogLikelihood({ backend, adapter: loaded }, example)
      expect(Math.abs((losses[index] ?? Number.NaN) + served) / example.response.length).toBeLessThan(1e-4)
    }
  })

  test('both passes give the same gradients, and these are the slope of the loss', async () => {
    const parameters = parametersOf(adapter)
    const examples = batchFor(adapter)
    const { lossSum, tokens: count, gradients } = await model.differentiate(examples, parameters)
    expect(count).toBe(24)
    expect(lossSum).toBeCloseTo(sum(await model.score(examples, parameters)), 3)
    expect([...gradients.keys()]).toEqual([...parameters.keys()])
    const again = await withModel(adapter, { checkpointing: true }, (recomputing) =>
      recomputing.differentiate(examples, parameters),
    )
    for (const [name, gradient] of gradients)
      expect(distance(again.gradients.get(name) ?? [], gradient), name).toBeLessThan(1e-5)
    for (const name of gradients.keys()) {
      const { expected, measured } = await slope(model, { name, parameters, gradients, batch: examples })
      expect(Math.abs(measured - expected) / (Math.abs(expected) + 0.01), name).toBeLessThan(1e-2)
    }
  })
})

describe('rows that are tried at other places than late ones', () => {
  const adapter = () =>
    randomAdapter(tiny.manifest, {
      seed: 5,
      kind: 'iapt',
      activation: 'gelu',
      placement: 'late',
      tail: '4',
      l_sp: '4',
    })

  test('the places of late rows themselves give the loss and the gradients of late rows', async () => {
    const parameters = parametersOf(adapter())
    const served = await withModel(adapter(), {}, (model) => model.differentiate(lateBatch, parameters))
    const places: RowPlaces = ({ instruction }) => Array<number>(4).fill(instruction - 4)
    const tried = await withModel(adapter(), { places }, (model) =>
      model.differentiate(lateBatch, parameters),
    )
    expect(tried.lossSum).toBeCloseTo(served.lossSum, 3)
    for (const [name, gradient] of served.gradients)
      expect(distance(tried.gradients.get(name) ?? [], gradient), name).toBeLessThan(1e-5)
  })

  test('gradients are the slope of the loss where rows stand among the tokens that a generator reads', async () => {
    const parameters = parametersOf(adapter())
    const places: RowPlaces = ({ instruction, response }) => [
      1,
      instruction - 4,
      instruction,
      instruction + response - 1,
    ]
    await withModel(adapter(), { places }, async (model) => {
      const { gradients } = await model.differentiate(lateBatch, parameters)
      for (const name of gradients.keys()) {
        const { expected, measured } = await slope(model, { name, parameters, gradients, batch: lateBatch })
        expect(Math.abs(measured - expected) / (Math.abs(expected) + 0.01), name).toBeLessThan(1e-2)
      }
    })
  })
})

test.for([
  { kind: 'iapt', activation: 'gelu', anchor: 'own', window: 9 },
  { kind: 'static', anchor: 'sink' },
])(
  'rows of newest turns that are whole prompts have the loss and the gradients of rows behind the first token: %j',
  async (variant) => {
    const trained = (placement: string) => {
      const adapter = randomAdapter(tiny.manifest, { seed: 5, placement, ...variant })
      return withModel(adapter, {}, (model) => model.differentiate(lateBatch, parametersOf(adapter)))
    }
    const [expected, found] = [await trained('after-first'), await trained('turn')]
    expect(found.lossSum).toBeCloseTo(expected.lossSum, 3)
    for (const [name, gradient] of expected.gradients)
      expect(distance(found.gradients.get(name) ?? [], gradient), name).toBeLessThan(1e-5)
  },
)

test('late examples that together need more rows than the context has run one by one', async () => {
  const adapter = randomAdapter(tiny.manifest, { seed: 5, kind: 'static', placement: 'late', tail: 2 })
  const tokens = (length: number) => Array.from({ length }, (_, at) => (7 * at) % 250)
  const examples: Example[] = [
    { instruction: tokens(600), response: tokens(8) },
    { instruction: tokens(8), response: tokens(590) },
  ]
  await withModel(adapter, {}, async (model) => {
    const parameters = parametersOf(adapter)
    const losses = await responseLosses(model, { examples, parameters, batch: 2, batchTokens: 4096 })
    for (const [at, example] of examples.entries())
      expect([losses[at]]).toEqual([...(await model.score([example], parameters))])
  })
})

test.for([
  { placement: 'turn', window: 6 },
  { placement: 'late', tail: 4, window: 6 },
])(
  'in layers with a window, rows of the placement $placement are trained as they are served',
  async (variant) => {
    const attention = [5, 5, null].map((window) => ({ rotary: 0, window }))
    const windowed = await tinyBackbone({ config: { attention } })
    const host = await openBackend(windowed)
    const adapter = randomAdapter(windowed.manifest, { seed: 5, anchor: 'own', ...variant })
    const model = await openLossModel({ backbone: windowed, metadata: adapter.metadata, threads: 1 })
    try {
      const examples = batchFor(adapter)
      const losses = await model.score(examples, parametersOf(adapter))
      const loaded = host.loadAdapter(adapter)
      for (const [index, example] of examples.entries()) {
        const served = await responseLogLikelihood({ backend: host, adapter: loaded }, example)
        expect(Math.abs((losses[index] ?? Number.NaN) + served)).toBeLessThan(1e-4 * example.response.length)
      }
    } finally {
      await model.close()
      await host.close()
      await rm(dirname(windowed.folder), { recursive: true })
    }
  },
)

test('the untuned backbone’s loss is that of serving without an adapter', async () => {
  const losses = await withModel(randomAdapter(tiny.manifest, { seed: 1 }), {}, (model) =>
    model.score(batch, undefined),
  )
  for (const [index, example] of batch.entries()) {
    const served = await responseLogLikelihood({ backend, adapter: undefined }, example)
    expect(Math.abs((losses[index] ?? Number.NaN) + served)).toBeLessThan(1e-4 * example.response.length)
  }
})

test('a batch that runs in parts has the same scores and gradients', async () => {
  const adapter = randomAdapter(tiny.manifest, { seed: 5, activation: 'gelu' })
  const parameters = parametersOf(adapter)
  await withModel(adapter, {}, async (model) => {
    const { lossSum, tokens: count, gradients } = await model.differentiate(batch, parameters)
    const whole = new Map([...gradients].map(([name, gradient]) => [name, gradient.slice()]))
    const scores = await model.score(batch, parameters)
    for (const batchTokens of [9, 52]) {
      const limits = { batch: 16, batchTokens, examples: batch, parameters }
      const parts = await meanGradients(model, limits)
      expect(parts.loss).toBeCloseTo(lossSum / count, 4)
      for (const [name, gradient] of parts.gradients)
        expect(
          distance(
            gradient.map((x) => x * count),
            whole.get(name) ?? [],
          ),
          name,
        ).toBeLessThan(1e-4)
      expect(distance(await responseLosses(model, limits), scores)).toBeLessThan(1e-5)
    }
  })
})

test('8-bit weights are trained on as they are served: (quant − zero point) · scale', async () => {
  const eight = await tinyBackbone({ weights: 'q8' })
  try {
    const name = 'layers.1.gate_up'
    const shape = [2 * eight.manifest.config.ffn, eight.manifest.config.d]
    const trained =
      (await readWeights(eight.folder, new Map([[name, shape]]))).get(name) ?? new Float32Array(0)
    const parts = [await eight.source.read('layers.1.gate'), await eight.source.read('layers.1.up')]
    const original = Float32Array.from(parts.flatMap((part) => [...part]))
    expect(trained.length).toBe(original.length)
    for (let block = 0; block < original.length; block += 32) {
      const own = original.subarray(block, block + 32)
      const step = (Math.max(0, ...own) - Math.min(0, ...own)) / 255
      for (const [i, weight] of own.entries()) {
        expect(Math.abs((trained[block + i] ?? 0) - weight)).toBeLessThan(0.51 * step)
        const steps = (trained[block + i] ?? 0) / step
        expect(Math.abs(steps - Math.round(steps))).toBeLessThan(1e-3)
      }
    }
  } finally {
    await rm(dirname(eight.folder), { recursive: true })
  }
})

test('data that a model cannot train on is refused by name', async () => {
  const adapter = randomAdapter(tiny.manifest, { seed: 1 })
  const parameters = parametersOf(adapter)
  await withModel(adapter, {}, async (model) => {
    const score = (example: Example) => model.score([example], parameters)
    await expect(score({ instruction: [], response: [1] })).rejects.toThrow('has no instruction')
    await expect(score({ instruction: [1], response: [] })).rejects.toThrow('has no response')
    await expect(score({ instruction: [256], response: [1] })).rejects.toThrow('token id 256')
    await expect(score({ instruction: tokens(1020), response: [1] })).rejects.toThrow('a context of 1024')
    await expect(score({ instruction: [1, 2], response: [1], turn: 2 })).rejects.toThrow('2 in front of its')
    await expect(model.score(batch, new Map())).rejects.toThrow('layers.0.down')
  })
  const ofTurn = randomAdapter(tiny.manifest, { seed: 1, placement: 'turn' })
  await withModel(ofTurn, {}, (model) =>
    expect(model.score([{ instruction: [1], response: [1] }], parametersOf(ofTurn))).rejects.toThrow(
      'an instruction of one token',
    ),
  )
  const other = { ...adapter.metadata, layers: 4 }
  await expect(openLossModel({ backbone: tiny, metadata: other })).rejects.toThrow(
    expect.objectContaining({ code: 'backbone_mismatch', param: 'layers' }),
  )
})
