import { rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { expect, test } from 'vitest'
import type { ModelConfig } from '../../shared/backbone.ts'
import type { Example } from '../../training/data/example.ts'
import { openLossModel } from '../../training/loss/onnx-loss-model.ts'
import { randomAdapter } from './random-adapter.ts'
import { responseLogLikelihood } from './response-likelihood.ts'
import { parametersOf, slope } from './slope.ts'
import { openBackend, tinyBackbone } from './tiny-backbone.ts'

/** How the layers of each architecture differ from Llama's, on a tiny random model. */
const architectures: Readonly<Record<string, Partial<ModelConfig>>> = {
  'qwen2 (biases of q, k and v)': { biases: ['qkv'] },
  'llama with every bias, heads of 24 and dynamic scaling': {
    biases: ['qkv', 'o', 'gate_up', 'down'],
    headDim: 24,
    rotary: [
      {
        theta: 1e4,
        dynamic: { rows: 12, factor: 3, exponents: Array.from({ length: 12 }, (_, i) => i / 11) },
      },
    ],
  },
  'qwen3 (norms of each head)': { qkNorms: 'each-head' },
  'smollm3 (a layer without rotary positions)': {
    attention: [null, 0, null].map((rotary) => ({ rotary, window: null })),
  },
  'phi3 (half of each head is turned, by other factors in long sequences)': {
    headDim: 32,
    rotary: [
      {
        theta: 1e4,
        dims: 16,
        magnitude: 1.2,
        beyond: { rows: 17, factors: [1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5], magnitude: 1.1 },
      },
    ],
  },
  'granite (multipliers)': {
    attentionScale: 0.4,
    embeddingScale: 3,
    residualScale: 0.3,
    logitScale: 0.5,
    tiedHead: false,
  },
  'olmo2 (norms behind the blocks)': { norms: 'after', qkNorms: 'all-heads' },
  'gemma2 (norms around, windows, caps)': {
    norms: 'around',
    activation: 'gelu-tanh',
    embeddingScale: 8,
    attentionCap: 2,
    logitCap: 3,
    attention: [6, null, 6].map((window) => ({ rotary: 0, window })),
  },
  'gemma3 (two rotary bases)': {
    norms: 'around',
    activation: 'gelu-tanh',
    qkNorms: 'each-head',
    rotary: [{ theta: 1e6 }, { theta: 1e4 }],
    attention: [5, 5, null].map((window) => ({ rotary: window === null ? 0 : 1, window })),
  },
}

const tokens = (count: number, seed: number) =>
  Array.from({ length: count }, (_, i) => (i * 37 + seed * 101) % 256)
const batch: readonly Example[] = [
  { instruction: tokens(9, 1), response: tokens(5, 2) },
  { instruction: tokens(1, 3), response: tokens(11, 4) },
]

test.for(Object.entries(architectures))(
  'training’s loss of %s is what serving gives, and its gradients are the slope of it',
  async ([, config]) => {
    const tiny = await tinyBackbone({ config })
    const backend = await openBackend(tiny)
    try {
      for (const kind of [
        { kind: 'iapt', activation: 'gelu', anchor: 'own', placement: 'after-first' },
        { kind: 'lpt', at: 1, anchor: 'sink', placement: 'first' },
      ]) {
        const adapter = randomAdapter(tiny.manifest, { seed: 5, ...kind })
        const parameters = parametersOf(adapter)
        const model = await openLossModel({ backbone: tiny, metadata: adapter.metadata })
        try {
          const losses = await model.score(batch, parameters)
          const loaded = backend.loadAdapter(adapter)
          for (const [index, example] of batch.entries()) {
            const served = await responseLogLikelihood({ backend, adapter: loaded }, example)
            expect(Math.abs((losses[index] ?? Number.NaN) + served)).toBeLessThan(1e-3)
          }
          const { gradients } = await model.differentiate(batch, parameters)
          for (const name of gradients.keys()) {
            const { expected, measured } = await slope(model, { name, parameters, gradients, batch })
            expect(Math.abs(measured - expected) / (Math.abs(expected) + 0.01), name).toBeLessThan(1e-2)
          }
        } finally {
          await model.close()
        }
      }
    } finally {
      await backend.close()
      await rm(dirname(tiny.folder), { recursive: true })
    }
  },
)
