import { z } from 'zod'
import type { ModelConfig } from '../../shared/backbone.ts'
import { invalidBackbone } from './decoder-shape.ts'

const architectures: Readonly<Record<string, string>> = {
  llama: 'LlamaForCausalLM',
  mistral: 'MistralForCausalLM',
}

const Rope = z.looseObject({
  rope_type: z.string().optional(),
  type: z.string().optional(),
  rope_theta: z.number().optional(),
})

/** config.json of transformers' LlamaConfig and MistralConfig, with the defaults that those classes have. */
const Config = z.looseObject({
  hidden_size: z.number(),
  num_hidden_layers: z.number(),
  num_attention_heads: z.number().min(1),
  num_key_value_heads: z.number().nullish(),
  head_dim: z.number().nullish(),
  intermediate_size: z.number(),
  vocab_size: z.number(),
  max_position_embeddings: z.number().default(2048),
  rms_norm_eps: z.number().default(1e-6),
  rope_theta: z.number().optional(),
  rope_scaling: Rope.nullish(),
  rope_parameters: Rope.nullish(),
  sliding_window: z.number().nullish(),
  tie_word_embeddings: z.boolean().default(false),
})

/** Settings that change the model in ways the graph does not have, with the values that change nothing. */
const unsupported: readonly { key: string; neutral: readonly unknown[]; feature: string }[] = [
  { key: 'hidden_act', neutral: ['silu', 'swish'], feature: 'this activation' },
  { key: 'attention_bias', neutral: [false], feature: 'attention biases' },
  { key: 'mlp_bias', neutral: [false], feature: 'feed-forward biases' },
  { key: 'partial_rotary_factor', neutral: [1], feature: 'partial rotary position embedding' },
  { key: 'quantization_config', neutral: [], feature: 'a quantised checkpoint' },
  { key: 'num_local_experts', neutral: [0, 1], feature: 'mixture of experts' },
  { key: 'no_rope_layers', neutral: [], feature: 'layers without rotary position embedding' },
]

/** The decoder's sizes from config.json; `checkedConfig` still has to see them. Throws `backbone_invalid`. */
export function llamaConfig(raw: unknown, path: string): Record<keyof ModelConfig, unknown> {
  const described = z.looseObject({ model_type: z.string() }).safeParse(raw)
  const modelType = described.data?.model_type
  if (modelType === undefined || !Object.hasOwn(architectures, modelType))
    throw invalidBackbone(
      path,
      `model_type ${modelType} is not supported; ${Object.keys(architectures).join(' and ')} are (Llama, SmolLM, Mistral)`,
    )
  for (const { key, neutral, feature } of unsupported) {
    const value = described.data?.[key]
    if (value !== undefined && value !== null && !neutral.includes(value))
      throw invalidBackbone(path, `${feature} (${key} = ${JSON.stringify(value)}) is not supported`)
  }
  const parsed = Config.safeParse(raw)
  if (!parsed.success) throw invalidBackbone(path, z.prettifyError(parsed.error).replaceAll('\n', ' '))
  const config = parsed.data
  for (const rope of [config.rope_scaling, config.rope_parameters]) {
    const scaling = rope?.rope_type ?? rope?.type ?? 'default'
    if (scaling !== 'default') throw invalidBackbone(path, `rope scaling (${scaling}) is not supported`)
  }
  return {
    layers: config.num_hidden_layers,
    d: config.hidden_size,
    heads: config.num_attention_heads,
    kvHeads: config.num_key_value_heads ?? config.num_attention_heads,
    headDim: config.head_dim ?? config.hidden_size / config.num_attention_heads,
    ffn: config.intermediate_size,
    vocab: config.vocab_size,
    // A window that the context never exceeds hides nothing.
    contextLength: Math.min(
      config.max_position_embeddings,
      config.sliding_window ?? config.max_position_embeddings,
    ),
    ropeTheta: config.rope_parameters?.rope_theta ?? config.rope_theta ?? 10_000,
    rmsEps: config.rms_norm_eps,
    tiedHead: config.tie_word_embeddings,
  }
}
