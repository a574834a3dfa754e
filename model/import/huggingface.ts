import { createHash } from 'node:crypto'
import { basename, join, resolve } from 'node:path'
import { z } from 'zod'
import type { ModelConfig } from '../../shared/backbone.ts'
import { QuartetError } from '../../shared/errors.ts'
import { parseHeader, readHeaderLength } from '../../shared/safetensors.ts'
import type { Architecture } from '../architectures/architecture.ts'
import { Settings } from '../architectures/settings.ts'
import { architectures, unsupported } from '../architectures/table.ts'
import type { TensorSource } from '../architectures/tensor-source.ts'
import { fileSha256 } from '../backbone/file-digest.ts'
import { invalidBackbone } from '../backbone/invalid-backbone.ts'
import { requireJsonFile } from '../backbone/json-file.ts'
import type { BackboneSource, SourceOptions } from './backbone-source.ts'
import { describeConversation } from './conversation.ts'
import { checkedConfig } from './decoder-shape.ts'
import { type BlockFormat, bf16, f16, f32 } from './element-types.ts'
import { tokenizerFiles } from './huggingface-tokenizer.ts'
import { type Entry, locateTensors, readLocated } from './located-tensors.ts'
import { weightFiles } from './safetensors-files.ts'
import { TensorFile } from './tensor-file.ts'
import { tokenizerIn } from './tokenizer.ts'

/**
 * Opens a folder as Hugging Face's transformers writes it: config.json, model.safetensors (or shards with
 * model.safetensors.index.json), tokenizer.json, tokenizer_config.json. Tensors stay on disk until they are read.
 * Throws `backbone_invalid` that names what is missing or not supported.
 */
export async function openHuggingFace(folder: string, { chat }: SourceOptions = {}): Promise<BackboneSource> {
  const described = await describeHuggingFace(folder, { chat })
  const { architecture, settings, sizes, tokenizer, conversation } = described
  const names = await weightFiles(folder)
  const files: TensorFile[] = []
  const close = async () => {
    await Promise.all(files.map((file) => file.close()))
  }
  try {
    for (const name of names) files.push(await TensorFile.open(join(folder, name)))
    const tensors = await openTensors({ folder, files, sizes, architecture, settings })
    return {
      tensors,
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

/** The description in a folder's files beside the weights, which may not be there yet. Throws `backbone_invalid`. */
export async function describeHuggingFace(folder: string, { chat }: SourceOptions = {}) {
  const path = join(folder, 'config.json')
  const raw = await requireJsonFile(path)
  const { architecture, settings } = architectureOf(raw, path)
  const stated = architecture.huggingFace.config(settings)
  const sizes = checkedConfig({ ...stated, tiedHead: false }, path)
  const { tokenizer, ...frame } = await tokenizerFiles(folder, { modelConfig: raw, vocab: sizes.vocab, chat })
  const conversation = tokenizerIn(join(folder, 'tokenizer.json'), () =>
    describeConversation(tokenizer, frame),
  )
  return { architecture, settings, sizes, tokenizer, conversation }
}

const Described = z.looseObject({ model_type: z.string().optional(), text_config: z.unknown().optional() })

/** A model with more than text states its decoder in `text_config`: that part of it is taken. */
function architectureOf(raw: unknown, path: string): { architecture: Architecture; settings: Settings } {
  const described = Described.safeParse(raw)
  if (!described.success) throw invalidBackbone(path, 'it must be an object with a model_type')
  const { model_type: type = '', text_config: text, ...rest } = described.data
  const architecture = architectures.find(({ huggingFace }) => huggingFace.modelTypes.includes(type))
  if (architecture !== undefined)
    return { architecture, settings: new Settings(path, { ...rest, text_config: text }) }
  const whole = architectures.find(({ huggingFace }) => huggingFace.textPartOf?.includes(type))
  const part = z.record(z.string(), z.unknown()).safeParse(text)
  if (whole === undefined)
    throw invalidBackbone(
      path,
      text === undefined
        ? unsupported('model_type', described.data.model_type)
        : `${unsupported('model_type', type)}; a model that reads more than text is taken apart only where its text part is known`,
    )
  if (!part.success)
    throw invalidBackbone(path, `text_config, where a ${type} model has its decoder, must be an object`)
  const { model_type: partType } = part.data
  if (partType !== undefined && !whole.huggingFace.modelTypes.some((known) => known === partType))
    throw invalidBackbone(path, unsupported('text_config.model_type', String(partType).slice(0, 60)))
  return { architecture: whole, settings: new Settings(path, part.data) }
}

interface Opened {
  readonly folder: string
  readonly files: readonly TensorFile[]
  readonly sizes: ModelConfig
  readonly architecture: Architecture
  readonly settings: Settings
}

const elementTypes: Readonly<Record<string, BlockFormat>> = { F32: f32, F16: f16, BF16: bf16 }

async function openTensors({ folder, files, sizes, architecture, settings }: Opened): Promise<TensorSource> {
  const { layer, fused = {}, normOffset = 0, tiedByDefault } = architecture.huggingFace
  const entries = await readEntries(files)
  const names = namesIn(entries)
  const locate = (config: ModelConfig) =>
    locateTensors({
      config,
      entries,
      names: { ...names, ofLayer: layer, fused },
      types: elementTypes,
      source: folder,
      settings: 'the settings of config.json',
      remedy: 'take config.json and all weights from one download of the model',
    })
  const isStatedTied = settings.flag('tie_word_embeddings', tiedByDefault)
  const tiedHead = isStatedTied && (await isSameMatrix(entries.get(names.head), entries.get(names.embedding)))
  if (!isStatedTied && !entries.has(names.head))
    throw invalidBackbone(
      folder,
      `tensor ${names.head} is missing, and config.json does not say that the head is the embedding; download the file that has it, or set tie_word_embeddings to true where the model has one matrix for both`,
    )
  const config = { ...sizes, tiedHead }
  const { tensors, unused } = locate(config)
  const strange = unused.find((name) => !isDerived(name, { tiedHead, head: names.head }))
  if (strange !== undefined)
    throw invalidBackbone(
      folder,
      `tensor ${strange} is not part of a ${architecture.name} model with the settings of config.json; take config.json and all weights from one download of the model`,
    )
  return {
    config,
    async read(name) {
      const located = tensors.get(name)
      if (located === undefined) throw invalidBackbone(folder, `there is no tensor ${name}`)
      const values = await readLocated(located)
      return normOffset !== 0 && name.endsWith('norm') ? values.map((x) => x + normOffset) : values
    },
  }
}

/** Where a whole model keeps its decoder; a bare decoder has no prefix. */
const usualPrefixes = ['model.', '', 'language_model.model.', 'model.language_model.']
const embedding = /^(.*\.)?embed_tokens\.weight$/

/** The names of a decoder's tensors, whatever stands in front of all of them (torch.compile writes `_orig_mod.`). */
function namesIn(entries: ReadonlyMap<string, Entry>) {
  const found = [...entries.keys()].flatMap((name) => {
    const match = embedding.exec(name)
    return match === null ? [] : [match[1] ?? '']
  })
  const prefix = usualPrefixes.find((each) => found.includes(each)) ?? found[0] ?? 'model.'
  const heads = [prefix, prefix.replace(/model\.$/, ''), ''].map((front) => `${front}lm_head.weight`)
  return {
    embedding: `${prefix}embed_tokens.weight`,
    norm: `${prefix}norm.weight`,
    head: heads.find((name) => entries.has(name)) ?? 'lm_head.weight',
    layer: (layer: number) => `${prefix}layers.${layer}.`,
  }
}

/** Tensors that repeat what config.json or another tensor says, or are no part of the decoder. */
function isDerived(name: string, { tiedHead, head }: { tiedHead: boolean; head: string }): boolean {
  return name.endsWith('.rotary_emb.inv_freq') || (tiedHead && name === head) || beyondText.test(name)
}

/** Tensors of models that also read pictures: they turn pictures into rows. */
const beyondText = /^(?:model\.)?(?:vision_tower|vision_model|multi_modal_projector)\./

/** Whether a stored head only repeats the embedding: a model that says it has one matrix may store another head. */
async function isSameMatrix(head: Entry | undefined, embedding: Entry | undefined): Promise<boolean> {
  if (head === undefined || embedding === undefined) return true
  if (head.shape.join() !== embedding.shape.join()) return false
  const type = Object.hasOwn(elementTypes, head.typeName) ? elementTypes[head.typeName] : undefined
  const other = Object.hasOwn(elementTypes, embedding.typeName) ? elementTypes[embedding.typeName] : undefined
  if (type === undefined || other === undefined) return false
  const [rows = 0, columns = 0] = head.shape
  const step = Math.max(1, Math.floor(2 ** 20 / Math.max(1, columns)))
  for (let row = 0; row < rows; row += step) {
    const elements = Math.min(step, rows - row) * columns
    const part = (entry: Entry, of: BlockFormat) =>
      entry.file.readTensor({ type: of, elements, start: entry.start + row * columns * of.bytes })
    const [a, b] = [await part(head, type), await part(embedding, other)]
    if (a.some((value, i) => value !== b[i])) return false
  }
  return true
}

async function readEntries(files: readonly TensorFile[]): Promise<ReadonlyMap<string, Entry>> {
  const found = new Map<string, Entry>()
  for (const file of files)
    for (const [name, { dtype, shape, start }] of await headerOf(file)) {
      if (found.has(name)) throw invalidBackbone(file.path, `tensor ${name} is in two files`)
      found.set(name, { file, shape, typeName: dtype, start })
    }
  return found
}

async function headerOf(file: TensorFile) {
  try {
    const length = readHeaderLength(await file.readBytes(0, Math.min(8, file.bytes)), file.bytes)
    return parseHeader(await file.readBytes(8, length), file.bytes).entries
  } catch (error) {
    if (error instanceof QuartetError && error.code === 'backbone_invalid') throw error
    const why = error instanceof Error ? error.message : String(error)
    throw invalidBackbone(file.path, `${why}; download it again`, error)
  }
}
