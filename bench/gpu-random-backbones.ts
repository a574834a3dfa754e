import { dirname } from 'node:path'
import type { ModelConfig } from '../shared/backbone.ts'
import { type TinyOptions, tinyBackbone } from '../test/parity/tiny-backbone.ts'
import type { Loadable } from './gpu-backbone.ts'
import type { LogitBounds } from './gpu-numerics.ts'
import { removedInTheEnd } from './gpu-scratch.ts'
import { prompt } from './sequences.ts'

/** The shape of SmolLM2-135M. */
export const smolLmShape: ModelConfig = {
  layers: 30,
  d: 576,
  heads: 9,
  kvHeads: 3,
  headDim: 64,
  ffn: 1536,
  vocab: 49_152,
  contextLength: 8192,
  rotary: [{ theta: 100_000 }],
  rmsEps: 1e-5,
  tiedHead: true,
}

/**
 * A device is held to these with it. The CPU's own forms, over the same runs: 8-bit weights with a cache of f32 lay 0.0252 of
 * their size and 0.14 at most from those with a cache of f16; 0.0329 and 0.20 from those of f32 weights, with a cache of f32 and of
 * f16 alike; 0.0420 and 0.23 from those with a cache of int8. These are one and a half times that.
 */
export const randomBounds: LogitBounds = {
  largest: { f32: 0.3, f16: 0.3, int8: 0.35 },
  ofSize: { f32: 0.05, f16: 0.05, int8: 0.063 },
}

export const randomSlug = 'random-135m'

/** A backbone of that shape with random weights in 8 bits, made here: its rates are those of SmolLM2, and nothing is fetched. */
export const randomBackbone = (made: DisposableStack): Promise<Loadable> =>
  seeded({ slug: randomSlug, config: smolLmShape, weights: 'q8' }, made)

/** A backbone of a few thousand random weights. */
export const smallBackbone = (made: DisposableStack): Promise<Loadable> => seeded({}, made)

async function seeded(options: TinyOptions, made: DisposableStack): Promise<Loadable> {
  const { folder, manifest } = await tinyBackbone(options)
  made.use(removedInTheEnd(dirname(folder)))
  return { folder, manifest, calibration: prompt(512, manifest.config.vocab) }
}
