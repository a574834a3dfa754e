import { readFile } from 'node:fs/promises'
import type { WeightFormat } from '../../shared/backbone.ts'
import { QuartetError } from '../../shared/errors.ts'
import type { Backbone } from '../backbone/backbone-folder.ts'
import { compareOnText, scoredWindow } from '../runtime/perplexity.ts'
import { backboneCodec } from './backbone-tokenizer.ts'
import { promptWindows } from './prompt-windows.ts'

/** How much higher than with f32 weights the perplexity may be. */
export const maxPerplexityIncrease: Readonly<Record<WeightFormat, number>> = {
  f32: 0,
  f16: 0.005,
  bf16: 0.01,
  q8: 0.015,
  q4: 0.15,
}

export interface QuantisationCheck {
  /** Tokens of the text. */
  readonly tokens: number
  /** Perplexity with f32 weights. */
  readonly exact: number
  /** Perplexity with the backbone's weights. */
  readonly stored: number
  /** stored / exact − 1 */
  readonly increase: number
  /** Mean KL divergence of the stored weights' distributions from the f32 weights', in nats. */
  readonly divergence: number
}

/** The text in perplexity.txt, each window of it begun as a prompt. */
export async function perplexityTokens(backbone: Backbone): Promise<readonly number[]> {
  const text = await readFile(new URL('perplexity.txt', import.meta.url), 'utf8')
  return promptWindows(await backboneCodec(backbone), { text, length: scoredWindow.window }).flat()
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
  const ids = await perplexityTokens(backbone)
  const { perplexity, divergence } = await compareOnText(
    { exact: { folder: exact.folder }, stored: { folder: backbone.folder } },
    ids,
  )
  const { exact: reference, stored } = perplexity
  return { tokens: ids.length, exact: reference, stored, increase: stored / reference - 1, divergence }
}
