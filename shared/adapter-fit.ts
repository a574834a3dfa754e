import type { AdapterMetadata } from './adapter-file.ts'
import type { BackboneShape } from './backbone.ts'
import { QuartetError } from './errors.ts'

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

const vocabOf = (metadata: AdapterMetadata) => (metadata.kind === 'ipt' ? metadata.vocab : undefined)
