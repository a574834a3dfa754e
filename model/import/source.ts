import { stat } from 'node:fs/promises'
import { QuartetError } from '../../shared/errors.ts'
import type { BackboneSource } from './backbone-source.ts'
import { openGgufSource } from './gguf-source.ts'
import { openHuggingFace } from './huggingface.ts'

/** Opens a GGUF file or a Hugging Face folder. Throws `backbone_invalid` or `not_found`. */
export async function openSource(path: string): Promise<BackboneSource> {
  const found = await stat(path).catch(() => undefined)
  if (found === undefined) throw new QuartetError('not_found', `there is no file or folder ${path}`)
  return found.isDirectory() ? openHuggingFace(path) : openGgufSource(path)
}
