import { readdir, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { QuartetError } from '../../shared/errors.ts'
import { invalidBackbone } from '../backbone/invalid-backbone.ts'
import type { BackboneSource, SourceOptions } from './backbone-source.ts'
import { openGgufSource } from './gguf-source.ts'
import { openHuggingFace } from './huggingface.ts'

/** Opens a GGUF file or a Hugging Face folder. Throws `backbone_invalid` or `not_found`. */
export async function openSource(path: string, options: SourceOptions = {}): Promise<BackboneSource> {
  const found = await stat(path).catch(() => undefined)
  if (found === undefined) throw new QuartetError('not_found', `there is no file or folder ${path}`)
  if (!found.isDirectory()) {
    if (/\.(safetensors|json)$/.test(path))
      throw invalidBackbone(
        path,
        `it is one file of a Hugging Face model; name the folder that it lies in, ${dirname(path)}`,
      )
    return openGgufSource(path, options)
  }
  const names = await readdir(path)
  const gguf = names.toSorted().find((name) => name.endsWith('.gguf'))
  if (!names.includes('config.json'))
    throw invalidBackbone(
      path,
      gguf === undefined
        ? 'it has no config.json; name a GGUF file, or a Hugging Face folder with config.json, tokenizer.json and safetensors'
        : `it has no config.json; to import a GGUF file name the file itself, such as ${gguf}`,
    )
  return openHuggingFace(path, options)
}
