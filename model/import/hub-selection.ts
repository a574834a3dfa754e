import { QuartetError } from '../../shared/errors.ts'
import type { HubFile, HubModel } from './hub-model.ts'

/** The files of a repository that make a backbone. */
export type HubSelection =
  | {
      readonly format: 'safetensors'
      /** Settings, tokenizer and the index of shards: read before any weights are. */
      readonly described: readonly HubFile[]
    }
  | {
      readonly format: 'gguf'
      /** All parts, the first one first. */
      readonly parts: readonly [HubFile, ...HubFile[]]
    }

const required = ['config.json', 'tokenizer.json']
const optional = [
  'generation_config.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'chat_template.jinja',
  'chat_template.json',
  'processor_config.json',
]
const additionalTemplate = /^additional_chat_templates\/[^/]+\.jinja$/
export const wholeWeights = 'model.safetensors'
export const shardIndex = 'model.safetensors.index.json'
const partName = /^(.*)-(\d{5})-of-(\d{5})\.gguf$/
const mostDescribedBytes = 256 * 1024 * 1024

/**
 * The GGUF file that is asked for, else a safetensors checkpoint, else the only GGUF file. Throws `not_found` or
 * `backbone_invalid` that names what the repository lacks.
 */
export function selectFiles(model: HubModel, file: string | undefined): HubSelection {
  const { repo, commit, files } = model
  const models = ggufModels(files)
  const listed = models.length === 0 ? 'it has no GGUF files' : `its GGUF files are ${some(models)}`
  if (file !== undefined) {
    if (!file.endsWith('.gguf'))
      throw new QuartetError(
        'invalid_request',
        `--file ${file} is not a GGUF file; without --file the safetensors checkpoint is taken`,
      )
    if (!files.has(file))
      throw new QuartetError('not_found', `${repo} at ${commit.slice(0, 12)} has no file ${file}; ${listed}`)
    return { format: 'gguf', parts: partsOf(file, model) }
  }
  if (!files.has(wholeWeights) && !files.has(shardIndex)) {
    const [only, ...others] = models
    if (only !== undefined && others.length === 0) return { format: 'gguf', parts: partsOf(only, model) }
    throw new QuartetError(
      'backbone_invalid',
      only !== undefined
        ? `${repo} has ${models.length} GGUF models; choose one with --file: ${some(models)}`
        : `${repo} has neither ${wholeWeights}, ${shardIndex} nor a GGUF file${pickles(files)}; choose a repository that has one`,
    )
  }
  const missing = required.find((name) => !files.has(name))
  if (missing !== undefined)
    throw new QuartetError(
      'backbone_invalid',
      `${repo} has no ${missing}, which the import needs; choose another repository of this model, or a GGUF of it`,
    )
  const names = [...required, ...optional, ...(files.has(wholeWeights) ? [] : [shardIndex])]
  const templates = [...files.keys()].filter((name) => additionalTemplate.test(name))
  const described = [...names, ...templates].flatMap((name) => files.get(name) ?? [])
  const large = described.find(({ bytes }) => bytes > mostDescribedBytes)
  if (large !== undefined)
    throw new QuartetError('backbone_invalid', `${large.path} of ${repo} has ${large.bytes} bytes, too many`)
  return { format: 'safetensors', described }
}

/** Every GGUF model, a split one by its first part, smallest first. */
function ggufModels(files: HubModel['files']): string[] {
  return [...files.values()]
    .filter(({ path }) => path.endsWith('.gguf') && (partName.exec(path)?.[2] ?? '00001') === '00001')
    .toSorted((a, b) => a.bytes - b.bytes)
    .map(({ path }) => path)
}

function partsOf(file: string, { repo, files }: HubModel): readonly [HubFile, ...HubFile[]] {
  const [, stem = '', , of] = partName.exec(file) ?? []
  const names =
    of === undefined
      ? [file]
      : Array.from(
          { length: Number(of) },
          (_, at) => `${stem}-${String(at + 1).padStart(5, '0')}-of-${of}.gguf`,
        )
  const absent = names.find((name) => !files.has(name))
  const [first, ...others] = names.flatMap((name) => files.get(name) ?? [])
  if (absent !== undefined || first === undefined)
    throw new QuartetError(
      'not_found',
      `${repo} has no file ${absent ?? file}, which is a part of the model; choose another --file`,
    )
  return [first, ...others]
}

function some(names: readonly string[]): string {
  const shown = names.slice(0, 12).join(', ')
  return names.length > 12 ? `${shown} and ${names.length - 12} more` : shown
}

function pickles(files: HubModel['files']): string {
  const pickle = [...files.keys()].find((path) => /\.(bin|pt|pth)$/.test(path))
  return pickle === undefined ? '' : ` (${pickle} is a pickle, which can run code when read)`
}
