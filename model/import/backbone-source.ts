import type { BackboneManifest } from '../../shared/backbone.ts'
import type { TensorSource } from '../architectures/tensor-source.ts'
import type { StatedTemplate } from './chat-template.ts'
import type { TokenizerJson } from './tokenizer.ts'

export interface SourceOptions {
  /** A chat template in place of the model's own. */
  readonly chat?: StatedTemplate | undefined
}

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
