import { GGMLQuantizationType } from '@huggingface/gguf'
import type { ModelConfig } from '../../shared/backbone.ts'
import type { QuartetError } from '../../shared/errors.ts'
import { checkedConfig, decoderTensors, invalidBackbone, LayerTensor } from './decoder-shape.ts'
import { ggmlTypes } from './element-types.ts'
import { type GgufHeader, type GgufMetadata, type GgufValue, readGgufHeader } from './gguf-header.ts'
import { rotateHalfRows } from './rotary-order.ts'
import { type StoredTensor, TensorFile } from './tensor-file.ts'
import type { TensorName, TensorSource } from './tensor-source.ts'

/** A GGUF file's weights and its metadata (tokenizer and chat template among them). */
export interface GgufModel extends TensorSource {
  readonly metadata: GgufMetadata
  close(): Promise<void>
}

/**
 * Opens a GGUF file of the llama architecture (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md).
 * Throws `backbone_invalid` that names what the file has and this does not support.
 */
export async function openGguf(path: string): Promise<GgufModel> {
  const file = await TensorFile.open(path)
  try {
    const header = await readGgufHeader(file)
    const metadata: GgufMetadata = header.metadata
    refuseUnsupported(path, metadata)
    const infos = new Map(header.tensorInfos.map((info) => [info.name, info]))
    if (infos.size !== header.tensorInfos.length)
      throw invalidBackbone(path, 'two tensors have the same name')
    const config = configOf(path, { metadata, tiedHead: !infos.has('output.weight') })
    const stored = locateTensors({ file, header, config })
    return {
      config,
      metadata,
      async read(name) {
        const tensor = stored.get(name)
        if (tensor === undefined) throw invalidBackbone(path, `there is no tensor ${name}`)
        const values = await file.readTensor(tensor)
        return name.endsWith('.q') || name.endsWith('.k') ? rotateHalfRows(values, config) : values
      },
      close: () => file.close(),
    }
  } catch (error) {
    await file.close()
    throw error
  }
}

const isZero = (value: GgufValue) => Number(value) === 0
const isOne = (value: GgufValue) => Number(value) === 1

/** Metadata that change the model in ways the graph does not have, unless they hold a neutral value. */
const unsupportedKeys: readonly {
  key: string
  neutral: (value: GgufValue) => boolean
  feature: string
}[] = [
  { key: 'split.count', neutral: (v) => Number(v) <= 1, feature: 'a GGUF split into several files' },
  { key: 'llama.expert_count', neutral: isZero, feature: 'mixture of experts' },
  { key: 'llama.rope.scaling.type', neutral: (value) => value === 'none', feature: 'rope scaling' },
  { key: 'llama.rope.scaling.factor', neutral: isOne, feature: 'rope scaling' },
  { key: 'llama.rope.scale_linear', neutral: isOne, feature: 'rope scaling' },
  { key: 'llama.attention.scale', neutral: isZero, feature: 'a scaled attention' },
  { key: 'llama.attention.clamp_kqv', neutral: isZero, feature: 'clamped q, k and v' },
  { key: 'llama.attention.max_alibi_bias', neutral: isZero, feature: 'ALiBi' },
  { key: 'llama.logit_scale', neutral: isOne, feature: 'scaled logits' },
  { key: 'llama.residual_scale', neutral: isOne, feature: 'scaled residuals' },
  { key: 'llama.embedding_scale', neutral: isOne, feature: 'scaled embeddings' },
]

function refuseUnsupported(path: string, metadata: GgufMetadata): void {
  const architecture = metadata['general.architecture']
  if (architecture !== 'llama')
    throw invalidBackbone(
      path,
      `architecture ${architecture} is not supported; llama is (Llama, SmolLM, Mistral)`,
    )
  for (const { key, neutral, feature } of unsupportedKeys) {
    const value = metadata[key]
    if (value !== undefined && !neutral(value))
      throw invalidBackbone(path, `${feature} (${key} = ${value}) is not supported`)
  }
}

function configOf(path: string, options: { metadata: GgufMetadata; tiedHead: boolean }): ModelConfig {
  const { metadata, tiedHead } = options
  const number = (key: string, fallback?: number) => {
    const value = metadata[key]
    if (value === undefined && fallback !== undefined) return fallback
    if (typeof value !== 'number' && typeof value !== 'bigint')
      throw invalidBackbone(
        path,
        `metadata ${key} ${value === undefined ? 'is missing' : 'is not one number'}`,
      )
    return Number(value)
  }
  const tokens = metadata['tokenizer.ggml.tokens']
  const d = number('llama.embedding_length')
  const heads = number('llama.attention.head_count')
  const headDim = number('llama.attention.key_length', d / heads)
  for (const key of ['llama.attention.value_length', 'llama.rope.dimension_count'])
    if (number(key, headDim) !== headDim)
      throw invalidBackbone(
        path,
        `${key} = ${number(key)} differs from the head size ${headDim}: not supported`,
      )
  const contextLength = number('llama.context_length')
  return checkedConfig(
    {
      layers: number('llama.block_count'),
      d,
      heads,
      kvHeads: number('llama.attention.head_count_kv', heads),
      headDim,
      ffn: number('llama.feed_forward_length'),
      vocab: Array.isArray(tokens) ? tokens.length : number('llama.vocab_size'),
      // A window that the context never exceeds hides nothing.
      contextLength: Math.min(contextLength, number('llama.attention.sliding_window', 0) || contextLength),
      ropeTheta: number('llama.rope.freq_base', 10_000),
      rmsEps: number('llama.attention.layer_norm_rms_epsilon'),
      tiedHead,
    },
    path,
  )
}

const layerNames: Readonly<Record<LayerTensor, string>> = {
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

function ggufName(name: TensorName): string {
  if (name === 'embedding') return 'token_embd.weight'
  if (name === 'norm') return 'output_norm.weight'
  if (name === 'head') return 'output.weight'
  const [, layer, tensor] = name.split('.')
  return `blk.${layer}.${layerNames[LayerTensor.parse(tensor)]}.weight`
}

interface Located {
  readonly file: TensorFile
  readonly header: GgufHeader
  readonly config: ModelConfig
}

/** Where each tensor lies, with every name, shape, type and extent checked against the config and the file's size. */
function locateTensors({ file, header, config }: Located): ReadonlyMap<TensorName, StoredTensor> {
  const { path } = file
  const unused = new Map(header.tensorInfos.map((info) => [info.name, info]))
  const stored = new Map<TensorName, StoredTensor>()
  for (const [name, shape] of decoderTensors(config)) {
    const stands = ggufName(name)
    const info = unused.get(stands)
    if (info === undefined) throw invalidBackbone(path, `tensor ${stands} is missing`)
    unused.delete(stands)
    const found = info.shape.map(Number).reverse()
    if (found.length !== shape.length || found.some((n, axis) => n !== shape[axis]))
      throw invalidBackbone(path, `tensor ${stands} has shape [${found}]; its metadata mean [${shape}]`)
    const typeName = GGMLQuantizationType[info.dtype] ?? `number ${info.dtype}`
    const type = Object.hasOwn(ggmlTypes, typeName) ? ggmlTypes[typeName] : undefined
    if (type === undefined)
      throw invalidBackbone(
        path,
        `tensor ${stands} has the type ${typeName}, which is not supported; use one of ${Object.keys(ggmlTypes).join(', ')}`,
      )
    const rowLength = shape.at(-1) ?? 0
    if (rowLength % type.elements !== 0)
      throw invalidBackbone(path, `rows of ${rowLength} do not fit ${typeName}'s blocks (${stands})`)
    const elements = shape.reduce((product, n) => product * n, 1)
    const start = Number(header.tensorDataOffset + info.offset)
    const end = start + (elements / type.elements) * type.bytes
    if (!Number.isSafeInteger(end) || end > file.bytes)
      throw invalidBackbone(
        path,
        `the file is truncated: ${stands} ends at byte ${end} of ${file.bytes}; download it again`,
      )
    stored.set(name, { type, elements, start })
  }
  for (const name of unused.keys()) throw unsupportedTensor(path, name)
  return stored
}

function unsupportedTensor(path: string, name: string): QuartetError {
  const feature = name.endsWith('.bias')
    ? 'biases are'
    : name.startsWith('rope_freqs')
      ? 'rope scaling (Llama 3.1 and later) is'
      : name.includes('_exps') || name.includes('_shexp')
        ? 'mixture of experts is'
        : 'it is'
  return invalidBackbone(path, `tensor ${name}: ${feature} not supported`)
}
