import { access } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import type { QuartetError } from '../../shared/errors.ts'
import type { Architecture, GgufTensors } from '../architectures/architecture.ts'
import { Settings } from '../architectures/settings.ts'
import { architectures, unsupported } from '../architectures/table.ts'
import type { TensorSource } from '../architectures/tensor-source.ts'
import { invalidBackbone } from '../backbone/invalid-backbone.ts'
import { checkedConfig } from './decoder-shape.ts'
import { ggmlTypeName, ggmlTypes } from './element-types.ts'
import { type GgufMetadata, readGgufHeader } from './gguf-header.ts'
import { type Entry, locateTensors, readLocated } from './located-tensors.ts'
import { rotateHalfRows } from './rotary-order.ts'
import { TensorFile } from './tensor-file.ts'

/** A GGUF file's weights and its metadata (tokenizer and chat template among them). */
export interface GgufModel extends TensorSource {
  readonly metadata: GgufMetadata
  /** The file, or all parts of a split one. */
  readonly paths: readonly string[]
  close(): Promise<void>
}

/**
 * Opens a GGUF file of one of the architectures in the table. If the file is split in parts, it opens all of them
 * (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md). Throws `backbone_invalid` that names what the file has
 * and this does not support.
 */
export async function openGguf(path: string): Promise<GgufModel> {
  const files: TensorFile[] = []
  const close = async () => {
    await Promise.all(files.map((file) => file.close()))
  }
  try {
    const { metadata, entries } = await readParts(path, files)
    const tensors = await openTensors(path, { metadata, entries })
    return { ...tensors, metadata, paths: files.map((file) => file.path), close }
  } catch (error) {
    await close()
    throw error
  }
}

interface Contents {
  readonly metadata: GgufMetadata
  readonly entries: Map<string, Entry>
}

const partName = /^(.*)-(\d{5})-of-(\d{5})\.gguf$/

/** The parts of a split file, in order, or the file itself. Opened files are added to `files`. */
async function readParts(path: string, files: TensorFile[]): Promise<Contents> {
  const paths = await partPaths(path)
  let first: GgufMetadata | undefined
  const entries = new Map<string, Entry>()
  for (const [at, part] of paths.entries()) {
    const file = await TensorFile.open(part)
    files.push(file)
    const { metadata, tensorInfos, tensorDataOffset } = await readGgufHeader(file)
    if (new Set(tensorInfos.map(({ name }) => name)).size !== tensorInfos.length)
      throw invalidBackbone(part, 'two tensors have the same name')
    const split = new Settings(part, metadata, { prefix: 'split.' })
    const count = split.number('count', 1)
    if (count > 1 && count !== paths.length)
      throw invalidBackbone(
        part,
        `it is one of ${count} parts (split.count) and ${paths.length === 1 ? 'does not have the name of one: {name}-00001-of-{parts}.gguf' : `its name says ${paths.length}`}; download all parts under their own names`,
      )
    const place = split.number('no', at)
    if (count > 1 && place !== at)
      throw split.invalid(
        'no',
        `is ${place}, so it is part ${place + 1} of ${count}, and its name says ${at + 1}; give each part the name that it was published with`,
      )
    first ??= metadata
    for (const { name, shape, dtype, offset } of tensorInfos) {
      if (entries.has(name)) throw invalidBackbone(part, `tensor ${name} is in two parts`)
      entries.set(name, {
        file,
        shape: shape.map(Number).reverse(),
        typeName: ggmlTypeName(dtype),
        start: Number(tensorDataOffset + offset),
      })
    }
  }
  return { metadata: first ?? {}, entries }
}

async function partPaths(path: string): Promise<string[]> {
  const [, stem, , of] = partName.exec(basename(path)) ?? []
  if (stem === undefined || of === undefined) return [path]
  const count = Number(of)
  if (count < 1 || count > 1000) throw invalidBackbone(path, `its name says that it is one of ${count} parts`)
  const paths = Array.from({ length: count }, (_, i) =>
    join(dirname(path), `${stem}-${String(i + 1).padStart(5, '0')}-of-${of}.gguf`),
  )
  for (const each of paths)
    await access(each).catch((cause: unknown) => {
      throw invalidBackbone(
        each,
        'this part of the model is missing; download it: all parts must lie in one folder',
        cause,
      )
    })
  return paths
}

/** The architecture that a file's metadata names. Throws `backbone_invalid` when it is not served. */
export function requireGgufArchitecture(metadata: GgufMetadata, path: string): Architecture {
  const name = metadata['general.architecture']
  const architecture = architectures.find(({ gguf }) => gguf.architecture === name)
  if (architecture === undefined)
    throw invalidBackbone(path, unsupported('architecture', typeof name === 'string' ? name : undefined))
  return architecture
}

/** Tensors that settings are taken from. */
const settingTensors = ['rope_freqs.weight', 'rope_factors_short.weight', 'rope_factors_long.weight']

async function openTensors(path: string, { metadata, entries }: Contents): Promise<TensorSource> {
  const { gguf } = requireGgufArchitecture(metadata, path)
  const vectors = new Map<string, readonly number[]>()
  for (const stored of settingTensors) {
    const entry = entries.get(stored)
    if (entry === undefined) continue
    vectors.set(stored, await readVector(stored, entry))
    entries.delete(stored)
  }
  const tensors: GgufTensors = {
    has: (stored) => entries.has(stored),
    vector: (stored) => vectors.get(stored),
  }
  const stated = gguf.config(new Settings(path, metadata, { prefix: `${gguf.architecture}.` }), tensors)
  const tokens = metadata['tokenizer.ggml.tokens']
  if (!Array.isArray(tokens) || tokens.length === 0)
    throw invalidBackbone(
      path,
      `tokenizer.ggml.tokens is ${tokens === undefined ? 'missing' : 'not a list of texts'}; take a GGUF file of the model that has its tokenizer, or its Hugging Face folder`,
    )
  const config = checkedConfig(
    {
      ...stated,
      vocab: tokens.length,
      tiedHead: !entries.has('output.weight'),
    },
    path,
  )
  if (gguf.interleaved && config.rotary.some(({ dims }) => dims !== undefined && dims !== config.headDim))
    throw invalidBackbone(
      path,
      `${gguf.architecture}.rope.dimension_count is less than the head size ${config.headDim}, which is not supported in this architecture`,
    )
  const located = locateTensors({
    config,
    entries,
    names: {
      embedding: 'token_embd.weight',
      norm: 'output_norm.weight',
      head: 'output.weight',
      layer: (layer) => `blk.${layer}.`,
      ofLayer: gguf.layer,
      fused: gguf.fused ?? {},
    },
    types: ggmlTypes,
    source: path,
    settings: 'its metadata',
    remedy: 'download the file again, or take one of another conversion',
  })
  for (const unused of located.unused) throw unsupportedTensor(path, unused)
  return {
    config,
    async read(wanted) {
      const tensor = located.tensors.get(wanted)
      if (tensor === undefined) throw invalidBackbone(path, `there is no tensor ${wanted}`)
      const values = await readLocated(tensor)
      return gguf.interleaved && /\.[qk](_bias)?$/.test(wanted)
        ? rotateHalfRows(values, {
            headDim: config.headDim,
            width: wanted.endsWith('_bias') ? 1 : config.d,
          })
        : values
    },
    isSymmetric: (wanted) => located.tensors.get(wanted)?.type === ggmlTypes.Q4_0,
  }
}

async function readVector(name: string, entry: Entry): Promise<readonly number[]> {
  const type = Object.hasOwn(ggmlTypes, entry.typeName) ? ggmlTypes[entry.typeName] : undefined
  const [elements = 0] = entry.shape
  if (type?.elements !== 1 || entry.shape.length !== 1 || elements > 4096)
    throw invalidBackbone(entry.file.path, `tensor ${name} is not a short list of numbers`)
  const { file, start } = entry
  return [...(await readLocated({ name, file, type, elements, start }))]
}

function unsupportedTensor(path: string, name: string): QuartetError {
  const feature = name.endsWith('.bias')
    ? 'biases are not supported there'
    : name.includes('_exps') || name.includes('_shexp')
      ? 'mixture of experts is not supported'
      : 'it is not part of a model with the settings of its metadata; take another conversion of the model'
  return invalidBackbone(path, `tensor ${name}: ${feature}`)
}
