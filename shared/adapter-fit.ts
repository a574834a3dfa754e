import type { AdapterMetadata } from './adapter-file.ts'
import type { PromptPlace } from './api/prompts.ts'
import type { BackboneShape } from './backbone.ts'
import { QuartetError } from './errors.ts'
import { maxTail } from './wire.ts'

/**
 * Holds an adapter to the sizes of its backbone, as far as they are known. Throws `backbone_mismatch` that names the
 * first that differs.
 */
export function checkFit(
  metadata: AdapterMetadata,
  shape: { readonly [size in keyof BackboneShape]?: number | undefined },
): void {
  const own = { d: metadata.d, layers: metadata.layers, vocab: vocabOf(metadata) }
  for (const size of ['d', 'layers', 'vocab'] as const)
    if (own[size] !== undefined && shape[size] !== undefined && own[size] !== shape[size])
      throw new QuartetError(
        'backbone_mismatch',
        `the adapter says ${size} = ${own[size]}; the backbone ${metadata.backbone} has ${shape[size]}: make the adapter for that backbone`,
        { param: size },
      )
}

/**
 * An adapter made on other weights than those here: it says which it wants, and how to train it on for these. A model
 * has other weights from each source (hub, GGUF) and in each form (8 bits, f32).
 */
export function otherWeights(
  { backbone, backbone_sha256 }: AdapterMetadata,
  here: { slug?: string; digest: string },
): QuartetError {
  return new QuartetError(
    'backbone_mismatch',
    `the adapter is for the weights ${backbone_sha256.slice(0, 12)} of ${backbone}; here are ${here.digest.slice(0, 12)}${here.slug === undefined ? '' : ` of ${here.slug}`}: serve the weights that it was trained on (quartet backbone list shows them), or train it on for these with quartet adapter port FILE --to ${here.slug ?? backbone} --data FILE`,
    { param: 'backbone_sha256' },
  )
}

/**
 * Holds late rows to the generation header of the backbone's chat template, `header` tokens. Throws `backbone_mismatch`.
 */
export function checkTail({ backbone, tail }: AdapterMetadata, header: number): void {
  if (tail === undefined || tail === header) return
  throw new QuartetError(
    'backbone_mismatch',
    header === 0
      ? `late rows stand in front of the generation header, and the chat template of ${backbone} has none; train with another placement`
      : `the adapter says tail = ${tail}; the generation header of ${backbone} has ${header} tokens: train it anew with --placement late`,
    { param: 'tail' },
  )
}

/** Throws `invalid_request` for a prompt without a token in front of late rows, `tail` of which stand behind them. */
export function checkPromptLength(
  { tokens, tail }: { tokens: number; tail: number },
  param: 'messages' | PromptPlace = 'prompt',
): void {
  if (tail > maxTail)
    throw new QuartetError(
      'invalid_request',
      `${param}: ${tail} tokens would stand behind the adapter's rows, the beginning of the answer among them; at most ${maxTail} can: continue a shorter beginning`,
      { param },
    )
  if (tokens <= tail)
    throw new QuartetError(
      'invalid_request',
      `${param}: the prompt has ${tokens} tokens; the adapter's rows stand in front of the last ${tail}, the generation header and what of the answer is given, and need at least one more in front of them`,
      { param },
    )
}

const vocabOf = (metadata: AdapterMetadata) => (metadata.kind === 'ipt' ? metadata.vocab : undefined)
