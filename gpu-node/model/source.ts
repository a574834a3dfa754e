import { stat } from 'node:fs/promises'
import type { BackboneManifest } from '../../shared/backbone.ts'
import { QuartetError } from '../../shared/errors.ts'
import { openGgufSource } from './gguf-source.ts'
import { openHuggingFace } from './huggingface.ts'
import type { TensorSource } from './tensor-source.ts'
import type { TokenizerJson } from './tokenizer.ts'

/** Everything a backbone is made from, whatever files it comes from. */
export interface BackboneSource {
  readonly tensors: TensorSource
  readonly tokenizer: TokenizerJson
  readonly tokens: BackboneManifest['tokens']
  readonly chat: BackboneManifest['chat']
  /** Computes the SHA-256 of the weights, so it reads them once. */
  origin(): Promise<BackboneManifest['source']>
  close(): Promise<void>
}

/** Opens a GGUF file or a Hugging Face folder. Throws `backbone_invalid` or `not_found`. */
export async function openSource(path: string): Promise<BackboneSource> {
  const found = await stat(path).catch(() => undefined)
  if (found === undefined) throw new QuartetError('not_found', `there is no file or folder ${path}`)
  return found.isDirectory() ? openHuggingFace(path) : openGgufSource(path)
}
