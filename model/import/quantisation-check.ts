import { readFile } from 'node:fs/promises'
import { QuartetError } from '../../shared/errors.ts'
import { perplexity } from '../runtime/perplexity.ts'
import type { Backbone } from './backbone-folder.ts'
import { backboneCodec } from './backbone-tokenizer.ts'
import { encode } from './tokenizer.ts'

/** How much higher than with f32 weights the perplexity may be: 1.5 %. */
export const maxPerplexityIncrease = 0.015

export interface QuantisationCheck {
  /** Tokens of the text. */
  readonly tokens: number
  /** Perplexity with f32 weights. */
  readonly exact: number
  /** Perplexity with the backbone's weights. */
  readonly stored: number
  /** stored / exact − 1 */
  readonly increase: number
}

/**
 * Perplexity of a backbone on the text in perplexity.txt, with its own weights and with f32 weights of the same
 * source. Throws `backbone_mismatch` when the two were not made from the same file.
 */
export async function checkQuantisation(backbone: Backbone, exact: Backbone): Promise<QuantisationCheck> {
  if (backbone.manifest.source.sha256 !== exact.manifest.source.sha256)
    throw new QuartetError(
      'backbone_mismatch',
      `${backbone.folder} was made from ${backbone.manifest.source.name} and ${exact.folder} from ${exact.manifest.source.name}; remove one of them and make it from the other's source`,
    )
  const text = await readFile(new URL('perplexity.txt', import.meta.url), 'utf8')
  const ids = encode(await backboneCodec(backbone), text)
  const reference = await perplexity(exact.folder, ids)
  const stored = await perplexity(backbone.folder, ids)
  return { tokens: ids.length, exact: reference, stored, increase: stored / reference - 1 }
}
