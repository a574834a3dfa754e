import type { Rotary } from '../../shared/backbone.ts'
import type { TensorName, TensorSource } from './tensor-source.ts'

/** The demands of GroupQueryAttention on a head's size and on the numbers that it turns (pairs in multiples of 8). */
const step = 16

const roundUp = (n: number) => Math.ceil(n / step) * step

/**
 * The same model with heads of a size that the graph's attention takes: zeros are added to each head of q, k and v
 * (and columns of zeros to o), which changes no score and no value.
 */
export function withFittingHeads(source: TensorSource): TensorSource {
  const { config } = source
  const { headDim } = config
  const [{ dims: turned = headDim } = { dims: headDim }] = config.rotary
  const turnedFitting = roundUp(turned)
  const fitting = roundUp(turnedFitting + headDim - turned)
  if (fitting === headDim && turnedFitting === turned) return source
  const place = (i: number) => {
    if (i < turned / 2) return i
    return i < turned ? turnedFitting / 2 + i - turned / 2 : turnedFitting + i - turned
  }
  const places = Array.from({ length: headDim }, (_, i) => place(i))
  return {
    config: {
      ...config,
      headDim: fitting,
      rotary: config.rotary.map((rotary) => fittingRotary(rotary, { turned, turnedFitting })),
      attentionScale: config.attentionScale ?? 1 / Math.sqrt(headDim),
      ...(config.qkNorms ? { qkNormEps: ((config.qkNormEps ?? config.rmsEps) * headDim) / fitting } : {}),
    },
    async read(name) {
      const values = await source.read(name)
      const tensor = tensorOf(name)
      // Rows of heads: weights [heads · headDim, d], biases and norms [heads · headDim] or [headDim].
      if (/^[qkv](_bias)?$/.test(tensor)) {
        const width = tensor.endsWith('bias') ? 1 : config.d
        return spread(values, { width, places, fitting })
      }
      if (tensor === 'q_norm' || tensor === 'k_norm') {
        // The mean square is now over more numbers: rms · √(headDim / fitting).
        const scale = Math.sqrt(headDim / fitting)
        return spread(values, { width: 1, places, fitting }).map((x) => x * scale)
      }
      if (tensor !== 'o') return values
      const heads = config.heads
      const wide = new Float32Array(config.d * heads * fitting)
      for (let row = 0; row < config.d; row++)
        for (let head = 0; head < heads; head++)
          for (const [i, at] of places.entries())
            wide[(row * heads + head) * fitting + at] = values[(row * heads + head) * headDim + i] ?? 0
      return wide
    },
  }
}

const tensorOf = (name: TensorName) => name.split('.')[2] ?? name

/** Rows [heads · headDim, width] with those of each head at `places` of `fitting`. */
function spread(
  values: Float32Array,
  { width, places, fitting }: { width: number; places: readonly number[]; fitting: number },
): Float32Array {
  const heads = values.length / width / places.length
  const wide = new Float32Array(heads * fitting * width)
  for (let head = 0; head < heads; head++)
    for (const [i, at] of places.entries()) {
      const from = (head * places.length + i) * width
      wide.set(values.subarray(from, from + width), (head * fitting + at) * width)
    }
  return wide
}

/** The same angles for the pairs that there were; those added turn zeros. */
function fittingRotary(
  rotary: Rotary,
  { turned, turnedFitting }: { turned: number; turnedFitting: number },
): Rotary {
  const { theta, factors, beyond, dynamic } = rotary
  const fitted = (known: readonly number[] | undefined) =>
    Array.from({ length: turnedFitting / 2 }, (_, i) =>
      i < turned / 2 ? (known?.[i] ?? 1) * theta ** ((2 * i) / turned - (2 * i) / turnedFitting) : 1,
    )
  const fittedExponents = (known: readonly number[]) =>
    Array.from({ length: turnedFitting / 2 }, (_, i) => known[i] ?? 0)
  return {
    ...rotary,
    dims: turnedFitting,
    factors: fitted(factors),
    ...(beyond ? { beyond: { ...beyond, factors: fitted(beyond.factors) } } : {}),
    ...(dynamic ? { dynamic: { ...dynamic, exponents: fittedExponents(dynamic.exponents) } } : {}),
  }
}
