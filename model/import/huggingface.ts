import { createHash } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'
import { z } from 'zod'
import type { ModelConfig } from '../../shared/backbone.ts'
import { parseHeader, readHeaderLength } from '../../shared/safetensors.ts'
import type { BackboneSource } from './backbone-source.ts'
import { describeConversation } from './conversation.ts'
import { checkedConfig, decoderTensors, invalidBackbone, LayerTensor } from './decoder-shape.ts'
import { bf16, type ElementType, f16, f32 } from './element-types.ts'
import { fileSha256 } from './file-digest.ts'
import { llamaConfig } from './huggingface-config.ts'
import { tokenizerFiles } from './huggingface-tokenizer.ts'
import { requireJsonFile } from './json-file.ts'
import { type StoredTensor, TensorFile } from './tensor-file.ts'
import type { TensorName } from './tensor-source.ts'

/**
 * Opens a folder as Hugging Face's transformers writes it: config.json, model.safetensors (or shards with
 * model.safetensors.index.json), tokenizer.json, tokenizer_config.json. Tensors stay on disk until they are read.
 * Throws `backbone_invalid` that names what is missing or not supported.
 */
export async function openHuggingFace(folder: string): Promise<BackboneSource> {
  const raw = await requireJsonFile(join(folder, 'config.json'))
  const { tiedHead, ...sizes } = llamaConfig(raw, join(folder, 'config.json'))
  const config = checkedConfig({ ...sizes, tiedHead }, join(folder, 'config.json'))
  const { tokenizer, ...stated } = await tokenizerFiles(folder, {
    modelConfig: raw,
    vocab: config.vocab,
  })
  const conversation = describeConversation(tokenizer, stated)
  const names = await weightFiles(folder)
  const files: TensorFile[] = []
  const close = async () => {
    await Promise.all(files.map((file) => file.close()))
  }
  try {
    for (const name of names) files.push(await TensorFile.open(join(folder, name)))
    const stored = await locateTensors({ folder, files, config })
    return {
      tensors: {
        config,
        async read(name) {
          const tensor = stored.get(name)
          if (tensor === undefined) throw invalidBackbone(folder, `there is no tensor ${name}`)
          return tensor.file.readTensor(tensor)
        },
      },
      tokenizer,
      ...conversation,
      origin: async () => {
        const hash = createHash('sha256')
        for (const name of names) hash.update(`${await fileSha256(join(folder, name))}  ${name}\n`)
        return { kind: 'huggingface', name: basename(resolve(folder)), sha256: hash.digest('hex') }
      },
      close,
    }
  } catch (error) {
    await close()
    throw error
  }
}

const indexName = 'model.safetensors.index.json'
const Index = z.object({ weight_map: z.record(z.string(), z.string()) })
const shardName = /^[A-Za-z0-9][A-Za-z0-9._-]*\.safetensors$/
const maxShards = 1000

/** Names of the weight files, sorted. A shard index may only name files that lie in the folder itself. */
async function weightFiles(folder: string): Promise<string[]> {
  const present = await readdir(folder)
  if (present.includes('model.safetensors')) return ['model.safetensors']
  if (!present.includes(indexName)) {
    const pickle = present.find((name) => /\.(bin|pt|pth)$/.test(name))
    throw invalidBackbone(
      folder,
      pickle === undefined
        ? 'there is neither model.safetensors nor model.safetensors.index.json'
        : `${pickle} is a pickle file, which can run code when read; convert the model to safetensors`,
    )
  }
  const parsed = Index.safeParse(await requireJsonFile(join(folder, indexName)))
  if (!parsed.success) throw invalidBackbone(join(folder, indexName), 'it has no weight_map of file names')
  const names = [...new Set(Object.values(parsed.data.weight_map))].sort()
  const outside = names.find((name) => !shardName.test(name))
  if (outside !== undefined)
    throw invalidBackbone(
      join(folder, indexName),
      `“${outside}” is not the name of a safetensors file beside it`,
    )
  if (names.length > maxShards)
    throw invalidBackbone(join(folder, indexName), `it names ${names.length} files`)
  return names
}

const elementTypes: Readonly<Record<string, ElementType>> = { F32: f32, F16: f16, BF16: bf16 }

const layerNames: Readonly<Record<LayerTensor, string>> = {
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

function transformersName(name: TensorName): string {
  if (name === 'embedding') return 'model.embed_tokens.weight'
  if (name === 'norm') return 'model.norm.weight'
  if (name === 'head') return 'lm_head.weight'
  const [, layer, tensor] = name.split('.')
  return `model.layers.${layer}.${layerNames[LayerTensor.parse(tensor)]}.weight`
}

type FiledTensor = StoredTensor & { readonly file: TensorFile }

async function locateTensors({
  folder,
  files,
  config,
}: {
  folder: string
  files: readonly TensorFile[]
  config: ModelConfig
}): Promise<ReadonlyMap<TensorName, FiledTensor>> {
  const found = new Map<
    string,
    { file: TensorFile; dtype: string; shape: readonly number[]; start: number }
  >()
  for (const file of files)
    for (const [name, { dtype, shape, start }] of await readEntries(file)) {
      if (found.has(name)) throw invalidBackbone(file.path, `tensor ${name} is in two files`)
      found.set(name, { file, dtype, shape, start })
    }
  const stored = new Map<TensorName, FiledTensor>()
  for (const [name, shape] of decoderTensors(config)) {
    const stands = transformersName(name)
    const entry = found.get(stands)
    if (entry === undefined) throw invalidBackbone(folder, `tensor ${stands} is missing`)
    found.delete(stands)
    if (entry.shape.length !== shape.length || entry.shape.some((n, axis) => n !== shape[axis]))
      throw invalidBackbone(
        entry.file.path,
        `tensor ${stands} has shape [${entry.shape}]; config.json means [${shape}]`,
      )
    const type = Object.hasOwn(elementTypes, entry.dtype) ? elementTypes[entry.dtype] : undefined
    if (type === undefined)
      throw invalidBackbone(
        entry.file.path,
        `tensor ${stands} has the type ${entry.dtype}, which is not supported; F32, F16 and BF16 are`,
      )
    const elements = shape.reduce((product, n) => product * n, 1)
    stored.set(name, { type, elements, start: entry.start, file: entry.file })
  }
  for (const name of found.keys())
    if (!isDerived(name, config))
      throw invalidBackbone(
        folder,
        `tensor ${name} is not part of a llama decoder${name.endsWith('.bias') ? ': biases are not supported' : ''}`,
      )
  return stored
}

/** Tensors that repeat what config.json or another tensor says. */
function isDerived(name: string, { tiedHead }: ModelConfig): boolean {
  return name.endsWith('.rotary_emb.inv_freq') || (tiedHead && name === 'lm_head.weight')
}

async function readEntries(file: TensorFile) {
  try {
    const length = readHeaderLength(await file.readBytes(0, Math.min(8, file.bytes)), file.bytes)
    return parseHeader(await file.readBytes(8, length), file.bytes).entries
  } catch (error) {
    throw invalidBackbone(file.path, error instanceof Error ? error.message : String(error), error)
  }
}
