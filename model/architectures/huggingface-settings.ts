import type { LayerAttention, ModelConfig } from '../../shared/backbone.ts'
import type { LayerNames, StatedConfig } from './architecture.ts'
import { headSizes } from './head-sizes.ts'
import { scaledLength, scaledRotary } from './rotary-scaling.ts'
import type { Settings } from './settings.ts'
import { sizeLimits } from './size-limits.ts'

/** Names that transformers gives to the tensors of Llama's layers and of most that follow it. */
export const llamaLayer: LayerNames = {
  attn_norm: 'input_layernorm',
  q: 'self_attn.q_proj',
  k: 'self_attn.k_proj',
  v: 'self_attn.v_proj',
  o: 'self_attn.o_proj',
  mlp_norm: 'post_attention_layernorm',
  gate: 'mlp.gate_proj',
  up: 'mlp.up_proj',
  down: 'mlp.down_proj',
}

/** Names of q and k norms, where a model has them. */
export const qkNormNames: LayerNames = { q_norm: 'self_attn.q_norm', k_norm: 'self_attn.k_norm' }

export interface Defaults {
  readonly heads?: number
  readonly vocab?: number
  readonly contextLength?: number
  readonly rmsEps?: number
  readonly theta?: number
  readonly headDim?: number
  readonly kvHeads?: number
}

/** Sizes and rotary positions, as most of transformers' configs state them. */
export function statedSizes(
  settings: Settings,
  { contextLength = 2048, rmsEps = 1e-6, theta = 10_000, ...defaults }: Defaults = {},
): StatedConfig {
  refuseCommon(settings)
  const d = settings.size('hidden_size', { most: sizeLimits.d })
  const { heads, kvHeads, headDim } = headSizes(settings, {
    keys: {
      width: 'hidden_size',
      heads: 'num_attention_heads',
      kvHeads: 'num_key_value_heads',
      headDim: 'head_dim',
    },
    d,
    defaults,
  })
  const positions = settings.size('max_position_embeddings', {
    most: sizeLimits.contextLength,
    fallback: contextLength,
  })
  const scaling = rotarySettings(settings)
  return {
    layers: settings.size('num_hidden_layers', { most: sizeLimits.layers }),
    d,
    heads,
    kvHeads,
    headDim,
    ffn: settings.size('intermediate_size', { most: sizeLimits.ffn }),
    vocab: settings.size('vocab_size', { most: sizeLimits.vocab, fallback: defaults.vocab }),
    contextLength: scaledLength(scaling, positions),
    rmsEps: settings.positive('rms_norm_eps', rmsEps),
    rotary: [
      statedRotary(settings, {
        scaling,
        theta: statedTheta(scaling, settings.positive('rope_theta', theta)),
        headDim,
        positions,
      }),
    ],
    ...activationOf(settings),
  }
}

/** The base of rotary positions, which newer files state beside their scaling. */
function statedTheta(scaling: Settings | undefined, outside: number): number {
  return scaling?.positive('rope_theta', outside) ?? outside
}

/** `rope_parameters`, or `rope_scaling` as files before transformers 5 call it. */
function rotarySettings(settings: Settings): Settings | undefined {
  const older = settings.section('rope_scaling')
  return older === undefined || older.isEmpty ? (settings.section('rope_parameters') ?? older) : older
}

export function statedRotary(
  settings: Settings,
  of: { scaling: Settings | undefined; theta: number; headDim: number; positions: number },
): ModelConfig['rotary'][number] {
  const { scaling, theta, headDim, positions } = of
  const share =
    scaling?.optionalNumber('partial_rotary_factor') ?? settings.number('partial_rotary_factor', 1)
  const dims = Math.trunc(headDim * share)
  if (!(dims >= 2 && dims <= headDim && dims % 2 === 0))
    throw settings.invalid(
      'partial_rotary_factor',
      `is ${share}, which turns ${dims} of the head's ${headDim} numbers; it must be an even number of them`,
    )
  const { dims: turned, ...rotary } = scaledRotary(scaling, {
    theta,
    dims,
    contextLength: positions,
    originalLength: settings.optionalNumber('original_max_position_embeddings'),
  })
  return turned === headDim ? rotary : { ...rotary, dims: turned ?? dims }
}

function activationOf(settings: Settings): Pick<ModelConfig, 'activation'> {
  const key = settings.raw('hidden_activation') === undefined ? 'hidden_act' : 'hidden_activation'
  const name = settings.text(key) ?? 'silu'
  const known: Readonly<Record<string, ModelConfig['activation'] | 'silu'>> = {
    silu: 'silu',
    swish: 'silu',
    gelu: 'gelu',
    gelu_pytorch_tanh: 'gelu-tanh',
    gelu_new: 'gelu-tanh',
    gelu_fast: 'gelu-tanh',
  }
  const activation = Object.hasOwn(known, name) ? known[name] : undefined
  if (activation === undefined)
    throw settings.invalid(
      key,
      `is “${name}”: this activation is not supported; ${Object.keys(known).join(', ')} are`,
    )
  return activation === 'silu' ? {} : { activation }
}

function refuseCommon(settings: Settings): void {
  settings.demand('quantization_config', [], 'a quantised checkpoint')
  settings.demand('num_local_experts', [0, 1], 'mixture of experts')
  settings.demand('num_experts', [0, 1], 'mixture of experts')
  settings.demand('rope_interleaved', [false], 'interleaved rotary positions')
}

/** Biases of attention and feed-forward products, by the two flags that Llama's config has. */
export function statedBiases(settings: Settings): Pick<ModelConfig, 'biases'> {
  const biases = [
    ...(settings.flag('attention_bias', false) ? (['qkv', 'o'] as const) : []),
    ...(settings.flag('mlp_bias', false) ? (['gate_up', 'down'] as const) : []),
  ]
  return biases.length === 0 ? {} : { biases }
}

/** Qwen's windows: the layers from `max_window_layers` on have one if `use_sliding_window` is true. */
export function qwenWindows(
  settings: Settings,
  { layers }: { layers: number },
): (layer: number) => LayerAttention {
  const uses = settings.flag('use_sliding_window', false)
  const from = settings.number('max_window_layers', 28)
  return statedWindows(settings, {
    layers,
    window: uses ? settings.number('sliding_window', 4096) : undefined,
    isSliding: (layer) => uses && layer >= from,
  })
}

/**
 * The window of each layer: `layer_types` where config.json has it, else `isSliding`. Rotary positions are the first of
 * the config's unless `rotaryOf` says another.
 */
export function statedWindows(
  settings: Settings,
  of: {
    layers: number
    window: number | undefined
    isSliding: (layer: number) => boolean
    rotaryOf?: (layer: number, sliding: boolean) => number | null
  },
): (layer: number) => LayerAttention {
  const { layers, window, isSliding, rotaryOf = () => 0 } = of
  const types = settings.raw('layer_types')
  if (types !== undefined && !(Array.isArray(types) && types.length === layers))
    throw settings.invalid('layer_types', `must name the kind of each of the ${layers} layers`)
  if (window !== undefined && !(Number.isInteger(window) && window >= 1))
    throw settings.invalid('sliding_window', `is ${window}; it must be a whole number above 0`)
  const kinds = ['full_attention', 'sliding_attention']
  const unknown = types?.find((type: unknown) => typeof type !== 'string' || !kinds.includes(type))
  if (unknown !== undefined)
    throw settings.invalid(
      'layer_types',
      `has “${unknown}”, which is not supported; ${kinds.join(' and ')} are`,
    )
  return (layer) => {
    const sliding = types === undefined ? isSliding(layer) : types[layer] === 'sliding_attention'
    return { rotary: rotaryOf(layer, sliding), window: sliding ? (window ?? null) : null }
  }
}
