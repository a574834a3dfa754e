import { rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Random } from '../shared/prng.ts'
import { type AdapterChoices, describeAdapter } from '../shared/training/describe-adapter.ts'
import { type TinyBackbone, tinyBackbone } from '../test/parity/tiny-backbone.ts'
import type { AdapterTraining } from './adapter-training.ts'
import { parametersOf } from './as-written.ts'
import type { Example } from './data/example.ts'
import { TrainSettings } from './settings.ts'
import { startParameters } from './start/start.ts'
import { trainAdapter } from './train-adapter.ts'

/** The whole way on a small random backbone, through the real loss and its gradients. */

let backbone: TinyBackbone

beforeAll(async () => {
  backbone = await tinyBackbone({ weights: 'q8' })
})

afterAll(() => rm(dirname(backbone.folder), { recursive: true }))

/** The answer depends on the prompt's second token. */
const examples = (count: number, seed: number): Example[] => {
  const random = new Random(seed)
  const id = () => 3 + Math.floor(random.next() * 200)
  return Array.from({ length: count }, (_, i) => ({
    instruction: [1, 10 + (i % 2), ...Array.from({ length: 2 + (i % 5) }, id)],
    response: [20 + (i % 2), 2],
  }))
}

async function training(choices: AdapterChoices, steps = 30): Promise<AdapterTraining> {
  const metadata = describeAdapter({ ...backbone.manifest, header: 0 }, choices)
  const start = { from: 'fresh', rows: 'anchor' } as const
  return {
    backbone,
    metadata,
    start: {
      name: 'anchor',
      parameters: await startParameters(backbone, {
        metadata,
        settings: { seed: 0, downDeviation: 4 },
        start,
      }),
    },
    data: {
      train: { source: 'train', examples: examples(32, 1) },
      dev: { source: 'dev', examples: examples(8, 2) },
      prompts: 'chat',
    },
    settings: TrainSettings.parse({ steps, evaluateEvery: 10, batch: 8, rates: { generator: 1e-2 } }),
  }
}

describe('trained on a few examples, the dev loss falls below that of the untuned backbone, and the file holds what was measured', () => {
  it.each<AdapterChoices>([
    { kind: 'iapt', m: 4 },
    { kind: 'iapt', m: 4, activation: 'rational', anchor: 'sink', placement: 'first' },
    { kind: 'static', rows: 6 },
    { kind: 'idpg', m: 4 },
    { kind: 'lpt', m: 4 },
    { kind: 'ipt', m: 4 },
  ])('%j', async (choices) => {
    const { devLoss = Number.NaN, state, file, parameters } = await trainAdapter(await training(choices))
    const untuned = state.history.find((record) => record.type === 'untuned')?.devLoss ?? 0
    expect(devLoss).toBeLessThan(untuned - 0.3)
    expect(parametersOf(file)).toEqual(parameters)
    expect(Number(file.provenance['train.dev_loss'])).toBe(devLoss)
  })
})

it('interrupted and resumed from its checkpoint, a training gives the very bytes of one that was not', async () => {
  const options = await training({ kind: 'iapt', m: 4 }, 20)
  const whole = await trainAdapter(options)
  const stop = new AbortController()
  let saved: Uint8Array<ArrayBuffer> | undefined
  const save = async (checkpoint: Uint8Array<ArrayBuffer>) => {
    saved = checkpoint
  }
  const cut = await trainAdapter(options, {
    checkpoints: { save },
    signal: stop.signal,
    onEvent: (event) => event.type === 'step' && event.step === 13 && stop.abort(),
  })
  expect(cut.outcome).toBe('interrupted')
  const resumed = await trainAdapter(options, { checkpoints: { resumed: saved, save } })
  expect(resumed.bytes).toEqual(whole.bytes)
})

it('a training that is taken up with another seed is refused by the seed alone, though the split follows from it', async () => {
  const begun = await training({ kind: 'static', rows: 2 }, 2)
  const saved: Uint8Array[] = []
  await trainAdapter(begun, { checkpoints: { save: async (checkpoint) => void saved.push(checkpoint) } })
  const all = [...begun.data.train.examples, ...begun.data.dev.examples].reverse()
  const other: AdapterTraining = {
    ...begun,
    settings: { ...begun.settings, seed: 9 },
    data: {
      ...begun.data,
      train: { ...begun.data.train, examples: all.slice(0, 32) },
      dev: { ...begun.data.dev, examples: all.slice(32) },
    },
  }
  await expect(
    trainAdapter(other, { checkpoints: { resumed: saved[0], save: async () => {} } }),
  ).rejects.toThrow(/is of another training: seed was 0 and is 9; give what it was started with/)
})
