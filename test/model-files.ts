import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { decoderTensors } from '../model/architectures/decoder-tensors.ts'
import type { TensorName, TensorSource } from '../model/architectures/tensor-source.ts'
import type { ModelConfig } from '../shared/backbone.ts'
import { type DType, type FileTensor, serializeSafeTensors } from '../shared/safetensors.ts'
import { seededSource } from './fakes/seeded-source.ts'
import { tinyChat, tinyTokenizer } from './fakes/tiny-tokenizer.ts'

/** Writes small models in the formats that a backbone can be imported from, by the formats' own definitions. */

export const importedConfig: ModelConfig = {
  layers: 2,
  d: 64,
  heads: 4,
  kvHeads: 2,
  headDim: 16,
  ffn: 96,
  vocab: 320,
  contextLength: 1024,
  rotary: [{ theta: 10_000 }],
  rmsEps: 1e-5,
  tiedHead: true,
}

export const tinySource = (config: Partial<ModelConfig> = {}) =>
  seededSource({ ...importedConfig, ...config }, 7)

/** Whole numbers are written as u32, others as f32; a Float32Array of one is f32 whatever its number. */
type GgufValue = string | number | boolean | Float32Array | readonly string[] | readonly number[]

export const tinyVocabulary: string[] = Array.from({ length: importedConfig.vocab }, (_, id) => `unused${id}`)
for (const [token, id] of Object.entries(tinyTokenizer.model.vocab)) tinyVocabulary[id] = token
for (const { id, content } of tinyTokenizer.added_tokens) tinyVocabulary[id] = content

export function ggufMetadata(config: ModelConfig): Record<string, GgufValue> {
  const specials = new Set(tinyTokenizer.added_tokens.map(({ id }) => id))
  return {
    'general.architecture': 'llama',
    'llama.block_count': config.layers,
    'llama.context_length': config.contextLength,
    'llama.embedding_length': config.d,
    'llama.feed_forward_length': config.ffn,
    'llama.attention.head_count': config.heads,
    'llama.attention.head_count_kv': config.kvHeads,
    'llama.rope.dimension_count': config.headDim,
    'llama.rope.freq_base': config.rotary[0]?.theta ?? 1e4,
    'llama.attention.layer_norm_rms_epsilon': config.rmsEps,
    'tokenizer.ggml.model': 'gpt2',
    'tokenizer.ggml.pre': 'smollm',
    'tokenizer.ggml.tokens': tinyVocabulary,
    'tokenizer.ggml.token_type': tinyVocabulary.map((_, id) => (specials.has(id) ? 3 : 1)),
    'tokenizer.ggml.merges': tinyTokenizer.model.merges.map((pair) => pair.join(' ')),
    'tokenizer.ggml.eos_token_id': 302,
    'tokenizer.chat_template': tinyChat.template,
  }
}

export interface GgufTensor {
  readonly name: string
  /** Row-major, [out, in]. */
  readonly shape: readonly number[]
  /** `ggml_type`; 0 is F32. */
  readonly type: number
  readonly data: Uint8Array
}

const ggufLayerNames: Readonly<Record<string, string>> = {
  q: 'attn_q',
  k: 'attn_k',
  v: 'attn_v',
  o: 'attn_output',
  mlp_norm: 'ffn_norm',
  gate: 'ffn_gate',
  up: 'ffn_up',
  down: 'ffn_down',
}

export async function ggufTensors(source: TensorSource): Promise<GgufTensor[]> {
  const tensors: GgufTensor[] = []
  for (const [name, shape] of decoderTensors(source.config)) {
    const [, layer, part = name] = name.split('.')
    const names: Record<string, string> = { embedding: 'token_embd', norm: 'output_norm', head: 'output' }
    const stands = layer === undefined ? names[part] : `blk.${layer}.${ggufLayerNames[part] ?? part}`
    const values = await source.read(name)
    const data = bytesOf(part === 'q' || part === 'k' ? permute(values, source.config) : values)
    tensors.push({ name: `${stands}.weight`, shape, type: 0, data })
  }
  return tensors
}

/** `permute` of llama.cpp's convert_hf_to_gguf.py: reshape(n, 2, headDim / 2, in).swapaxes(1, 2). */
function permute(matrix: Float32Array, { d, headDim }: ModelConfig): Float32Array {
  const heads = matrix.length / d / headDim
  const half = headDim / 2
  const permuted = new Float32Array(matrix.length)
  for (let head = 0; head < heads; head++)
    for (let pair = 0; pair < half; pair++)
      for (let side = 0; side < 2; side++) {
        const from = (head * 2 + side) * half + pair
        const to = (head * half + pair) * 2 + side
        permuted.set(matrix.subarray(from * d, (from + 1) * d), to * d)
      }
  return permuted
}

/** GGUF version 3 (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md). */
export function encodeGguf(
  metadata: Readonly<Record<string, GgufValue>>,
  tensors: readonly GgufTensor[],
): Uint8Array {
  const parts: Uint8Array[] = []
  const u32 = (value: number) => parts.push(bytesOf(Uint32Array.of(value)))
  const u64 = (value: number) => parts.push(bytesOf(BigUint64Array.of(BigInt(value))))
  const text = (value: string) => {
    const bytes = new TextEncoder().encode(value)
    u64(bytes.length)
    parts.push(bytes)
  }
  const scalar = (value: string | number | boolean) => {
    if (typeof value === 'string') text(value)
    else if (typeof value === 'boolean') parts.push(Uint8Array.of(value ? 1 : 0))
    else if (Number.isInteger(value)) u32(value)
    else parts.push(bytesOf(Float32Array.of(value)))
  }
  const typeOf = (value: string | number | boolean) =>
    typeof value === 'string' ? 8 : typeof value === 'boolean' ? 7 : Number.isInteger(value) ? 4 : 6
  parts.push(new TextEncoder().encode('GGUF'))
  u32(3)
  u64(tensors.length)
  u64(Object.keys(metadata).length)
  for (const [key, value] of Object.entries(metadata)) {
    text(key)
    if (value instanceof Float32Array) {
      u32(6)
      parts.push(bytesOf(value))
    } else if (typeof value === 'object') {
      u32(9)
      u32(typeOf(value[0] ?? ''))
      u64(value.length)
      for (const item of value) scalar(item)
    } else {
      u32(typeOf(value))
      scalar(value)
    }
  }
  let offset = 0
  for (const { name, shape, type, data } of tensors) {
    text(name)
    u32(shape.length)
    for (const n of shape.toReversed()) u64(n)
    u32(type)
    u64(offset)
    offset += aligned(data.length)
  }
  const length = parts.reduce((sum, part) => sum + part.length, 0)
  parts.push(new Uint8Array(aligned(length) - length))
  for (const { data } of tensors) parts.push(data, new Uint8Array(aligned(data.length) - data.length))
  return Buffer.concat(parts)
}

const aligned = (bytes: number) => Math.ceil(bytes / 32) * 32

export async function writeGguf(
  path: string,
  {
    source = tinySource(),
    metadata = {},
    tensors = (all) => all,
  }: {
    source?: TensorSource
    /** Added to what describes the source. */
    metadata?: Readonly<Record<string, GgufValue>>
    tensors?: (all: GgufTensor[]) => readonly GgufTensor[]
  } = {},
): Promise<void> {
  const all = { ...ggufMetadata(source.config), ...metadata }
  await writeFile(path, encodeGguf(all, tensors(await ggufTensors(source))))
}

const hfLayerNames: Readonly<Record<string, string>> = {
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

function hfName(name: TensorName): string {
  const [, layer, part = name] = name.split('.')
  if (layer !== undefined) return `model.layers.${layer}.${hfLayerNames[part]}.weight`
  const names: Record<string, string> = {
    embedding: 'model.embed_tokens',
    norm: 'model.norm',
    head: 'lm_head',
  }
  return `${names[part]}.weight`
}

const hfConfig = (config: ModelConfig) => ({
  architectures: ['LlamaForCausalLM'],
  model_type: 'llama',
  hidden_act: 'silu',
  hidden_size: config.d,
  num_hidden_layers: config.layers,
  num_attention_heads: config.heads,
  num_key_value_heads: config.kvHeads,
  intermediate_size: config.ffn,
  vocab_size: config.vocab,
  max_position_embeddings: config.contextLength,
  rms_norm_eps: config.rmsEps,
  rope_theta: config.rotary[0]?.theta ?? 1e4,
  rope_scaling: null,
  tie_word_embeddings: config.tiedHead,
  eos_token_id: 302,
})

export async function writeHuggingFace(
  folder: string,
  {
    source = tinySource(),
    dtype = 'F32',
    shards = 1,
    config = {},
    rename = (name) => name,
  }: {
    source?: TensorSource
    /** Gives a tensor another name. */
    rename?: (name: string) => string
    dtype?: 'F32' | 'F16' | 'BF16'
    shards?: number
    /** Added to config.json. */
    config?: Readonly<Record<string, unknown>>
  } = {},
): Promise<void> {
  await mkdir(folder, { recursive: true })
  const json = (name: string, value: unknown) => writeFile(join(folder, name), JSON.stringify(value))
  await json('config.json', { ...hfConfig(source.config), ...config })
  await json('tokenizer.json', tinyTokenizer)
  await json('tokenizer_config.json', { eos_token: '<|im_end|>', chat_template: tinyChat.template })
  const files = Array.from({ length: shards }, () => new Map<string, FileTensor>())
  const weightMap: Record<string, string> = {}
  const fileName = (shard: number) =>
    shards === 1 ? 'model.safetensors' : `model-0000${shard + 1}-of-0000${shards}.safetensors`
  for (const [at, [name, shape]] of [...decoderTensors(source.config)].entries()) {
    const data = encodeElements(await source.read(name), dtype)
    const stands = rename(hfName(name))
    files[at % shards]?.set(stands, { dtype, shape, data })
    weightMap[stands] = fileName(at % shards)
  }
  for (const [shard, tensors] of files.entries())
    await writeFile(
      join(folder, fileName(shard)),
      serializeSafeTensors({ metadata: { format: 'pt' }, tensors }),
    )
  if (shards > 1) await json('model.safetensors.index.json', { metadata: {}, weight_map: weightMap })
}

function encodeElements(values: Float32Array, dtype: DType): Uint8Array {
  if (dtype === 'F32') return bytesOf(values)
  if (dtype === 'F16') return bytesOf(Float16Array.from(values))
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length)
  return bytesOf(Uint16Array.from(bits, (word) => word >>> 16))
}

function bytesOf(array: ArrayBufferView): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength)
}
