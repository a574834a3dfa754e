import { decoderTensors } from '../../model/architectures/decoder-tensors.ts'
import type { TensorName, TensorSource } from '../../model/architectures/tensor-source.ts'
import type { ModelConfig } from '../../shared/backbone.ts'

/**
 * A model with random weights that depend on the seed and a tensor's name alone: the same on every machine, for tests
 * that need a real graph of a small size. Matrices have a standard deviation of 1/√columns, so that hidden states
 * keep their size from layer to layer; norms lie around 1.
 */
export function seededSource(config: ModelConfig, seed: number): TensorSource {
  const shapes = decoderTensors(config)
  return {
    config,
    async read(name: TensorName) {
      const shape = shapes.get(name)
      if (shape === undefined) throw new Error(`a model of this shape has no tensor ${name}`)
      const next = generator([...name].reduce((hash, char) => mix(hash, char.charCodeAt(0)), mix(0, seed)))
      const [rows = 1, columns] = shape
      const spread = columns === undefined ? 0.1 : Math.sqrt(3 / columns)
      const center = columns === undefined ? 1 : 0
      const values = new Float32Array(rows * (columns ?? 1))
      for (let i = 0; i < values.length; i++) values[i] = center + spread * (2 * next() - 1)
      return values
    },
  }
}

/** Uniform numbers in [0, 1): mulberry32. */
function generator(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

/** One round of FNV-1a over a 32-bit value. */
function mix(hash: number, value: number): number {
  return Math.imul(hash ^ value ^ 0x811c9dc5, 0x01000193)
}
