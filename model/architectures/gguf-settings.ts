import type { ModelConfig, Rotary } from '../../shared/backbone.ts'
import { type GgufTensors, type LayerNames, layerPattern, type StatedConfig } from './architecture.ts'
import { headSizes } from './head-sizes.ts'
import { longRope, yarn } from './rotary-scaling.ts'
import type { Settings } from './settings.ts'
import { sizeLimits } from './size-limits.ts'

/** Names that llama.cpp gives to a layer's tensors (gguf-py's constants.py, `TENSOR_NAMES`), in `blk.{layer}.`. */
export const ggufLayer: LayerNames = {
  attn_norm: 'attn_norm',
  q: 'attn_q',
  k: 'attn_k',
  v: 'attn_v',
  o: 'attn_output',
  mlp_norm: 'ffn_norm',
  gate: 'ffn_gate',
  up: 'ffn_up',
  down: 'ffn_down',
}

export const ggufQkNorms: LayerNames = { q_norm: 'attn_q_norm', k_norm: 'attn_k_norm' }

export const ggufPostNorms: LayerNames = {
  attn_post_norm: 'post_attention_norm',
  mlp_post_norm: 'post_ffw_norm',
}

/** Sizes, rotary positions and biases, as llama.cpp's converter writes them for every architecture. */
export function ggufSizes(metadata: Settings, tensors: GgufTensors): StatedConfig {
  metadata.demand('expert_count', [0], 'mixture of experts')
  metadata.demand('attention.clamp_kqv', [0], 'clamped q, k and v')
  metadata.demand('attention.max_alibi_bias', [0], 'ALiBi')
  const d = metadata.size('embedding_length', { most: sizeLimits.d })
  const { heads, kvHeads, headDim } = headSizes(metadata, {
    keys: {
      width: 'embedding_length',
      heads: 'attention.head_count',
      kvHeads: 'attention.head_count_kv',
      headDim: 'attention.key_length',
    },
    d,
  })
  const valueLength = metadata.number('attention.value_length', headDim)
  if (valueLength !== headDim)
    throw metadata.invalid('attention.value_length', `is ${valueLength}; it must be the head size ${headDim}`)
  const contextLength = metadata.size('context_length', { most: sizeLimits.contextLength })
  const scale = metadata.number('attention.scale', 0)
  return {
    layers: metadata.size('block_count', { most: sizeLimits.layers }),
    d,
    heads,
    kvHeads,
    headDim,
    ffn: metadata.size('feed_forward_length', { most: sizeLimits.ffn }),
    vocab: metadata.optionalNumber('vocab_size'),
    contextLength,
    rmsEps: metadata.positive('attention.layer_norm_rms_epsilon'),
    rotary: [ggufRotary(metadata, { tensors, headDim, contextLength })],
    ...(scale === 0 ? {} : { attentionScale: scale }),
    ...ggufBiases(tensors),
  }
}

/** The same model with `attention.sliding_window` in every layer, where the file has one. */
export function windowEverywhere(metadata: Settings, config: StatedConfig): StatedConfig {
  const window = metadata.number('attention.sliding_window', 0)
  return window === 0 ? config : { ...config, ...layerPattern(config, () => ({ rotary: 0, window })) }
}

function ggufBiases(tensors: GgufTensors): Pick<ModelConfig, 'biases'> {
  const groups = { qkv: 'attn_q', o: 'attn_output', gate_up: 'ffn_gate', down: 'ffn_down' } as const
  const biases = (Object.keys(groups) as (keyof typeof groups)[]).filter((group) =>
    tensors.has(`blk.0.${groups[group]}.bias`),
  )
  return biases.length === 0 ? {} : { biases }
}

interface RotaryOf {
  readonly tensors: GgufTensors
  readonly headDim: number
  readonly contextLength: number
}

function ggufRotary(metadata: Settings, { tensors, headDim, contextLength }: RotaryOf): Rotary {
  const theta = metadata.positive('rope.freq_base', 10_000)
  const dims = metadata.number('rope.dimension_count', headDim)
  if (!(dims >= 2 && dims <= headDim && dims % 2 === 0))
    throw metadata.invalid(
      'rope.dimension_count',
      `is ${dims}; it must be an even number of the head's ${headDim} numbers`,
    )
  return {
    theta,
    ...(dims === headDim ? {} : { dims }),
    ...ggufScaling(metadata, { theta, dims, tensors, contextLength }),
  }
}

function ggufScaling(
  metadata: Settings,
  of: { theta: number; dims: number; tensors: GgufTensors; contextLength: number },
): Omit<Rotary, 'theta' | 'dims'> {
  const { theta, dims, tensors, contextLength } = of
  const type = metadata.text('rope.scaling.type')
  // llama.cpp takes 0 for none.
  const factor =
    (metadata.optionalNumber('rope.scaling.factor') ?? metadata.number('rope.scale_linear', 1)) || 1
  if (factor < 0) throw metadata.invalid('rope.scaling.factor', `is ${factor}; it must be above 0`)
  // It takes 0 for the whole context here.
  const original = metadata.number('rope.scaling.original_context_length', 0) || contextLength
  if (original < 1)
    throw metadata.invalid('rope.scaling.original_context_length', `is ${original}; it must be above 0`)
  const vector = (name: string) => {
    const factors = tensors.vector(name)
    if (factors !== undefined && factors.length !== dims / 2)
      throw metadata.invalid(
        'rope.dimension_count',
        `is ${dims}, and the tensor ${name} has ${factors.length} numbers instead of ${dims / 2}`,
      )
    if (factors?.some((factor) => factor <= 0))
      throw metadata.invalid('rope.freq_base', `is divided by ${name}, which must hold numbers above 0`)
    return factors === undefined ? undefined : [...factors]
  }
  const short = vector('rope_factors_short.weight')
  const long = vector('rope_factors_long.weight')
  if (short !== undefined && long !== undefined) {
    const stretched = contextLength / original
    const usual = stretched <= 1 ? 1 : Math.sqrt(1 + Math.log(stretched) / Math.log(original))
    const magnitude = metadata.number('rope.scaling.attn_factor', usual)
    return longRope({ short, long, original, magnitude, contextLength })
  }
  const stored = vector('rope_freqs.weight')
  const each = (scaling: number) => Array.from({ length: dims / 2 }, (_, i) => (stored?.[i] ?? 1) * scaling)
  switch (type ?? 'linear') {
    case 'none':
      return stored === undefined ? {} : neutral(each(1))
    case 'linear':
      return stored === undefined && factor === 1 ? {} : neutral(each(factor))
    case 'yarn': {
      const usual = factor <= 1 ? 1 : 0.1 * Math.log(factor) + 1
      const scaled = yarn(
        { theta, dims },
        {
          factor,
          original,
          magnitude: usual * metadata.number('rope.scaling.attn_factor', 1),
          fast: metadata.number('rope.scaling.yarn_beta_fast', 32),
          slow: metadata.number('rope.scaling.yarn_beta_slow', 1),
          truncate: true,
        },
      )
      return stored === undefined
        ? scaled
        : { ...scaled, factors: stored.map((factor, i) => factor * (scaled.factors?.[i] ?? 1)) }
    }
    default:
      throw metadata.invalid(
        'rope.scaling.type',
        `is “${type}”, which is not supported; none, linear, yarn and longrope (with its rope_factors tensors) are`,
      )
  }
}

/** Factors that are all 1 say nothing. */
function neutral(factors: number[]): Pick<Rotary, 'factors'> {
  return factors.every((factor) => factor === 1) ? {} : { factors }
}
