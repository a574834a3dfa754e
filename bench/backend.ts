import { CliFailure } from '../cli/command/failure.ts'
import { requireBackbone } from '../cli/local/local-backbone.ts'
import type { Backbone } from '../model/backbone/backbone-folder.ts'
import type { Backend } from '../model/runtime/backend.ts'
import { type CacheType, cacheTypes } from '../model/runtime/cache-type.ts'
import { type BackendOptions, createBackend } from '../model/runtime/create-backend.ts'
import { usualPrefillWeights } from '../model/runtime/prefill-weights.ts'
import { type BackboneManifest, WeightFormat } from '../shared/backbone.ts'
import { BackboneSlug } from '../shared/ids.ts'

export const benchSlug = BackboneSlug.parse('smollm2-135m-instruct')

/** The backbone every benchmark runs on, from this machine's cache; in 8 bits where no weights are named. */
export function benchBackbone(weights?: WeightFormat): Promise<Backbone> {
  return requireBackbone(benchSlug, weights)
}

/** Weights that an option names; undefined without one. Throws `CliFailure` for others. */
export function weightFormat(named: string | undefined): WeightFormat | undefined {
  if (named === undefined) return undefined
  const parsed = WeightFormat.safeParse(named)
  if (!parsed.success)
    throw new CliFailure(`--weights is none of Quartet's: ${named}`, {
      remedy: `give one of ${WeightFormat.options.join(', ')}`,
    })
  return parsed.data
}

/** A cache type that an option names; undefined without one. Throws `CliFailure` for others. */
export function cacheTypeNamed(named: string | undefined): CacheType | undefined {
  if (named === undefined) return undefined
  const type = cacheTypes.find((known) => known === named)
  if (type === undefined)
    throw new CliFailure(`--cache-type is none of Quartet's: ${named}`, {
      remedy: `give one of ${cacheTypes.join(', ')}`,
    })
  return type
}

/** The backend as a node has it by default, without a node around it. */
export async function openBenchBackend(
  options: Pick<BackendOptions, 'prefillWeights' | 'threads'> & { readonly backbone?: Backbone } = {},
): Promise<{ backend: Backend; manifest: BackboneManifest }> {
  const { backbone, threads, prefillWeights } = options
  const { folder, manifest } = backbone ?? (await benchBackbone())
  const limits = { contextLength: 8192, chunkTokens: 256, maxBatch: 16, cacheRows: 16_384 }
  const backend = await createBackend({
    folder,
    manifest,
    device: 'cpu',
    limits,
    threads,
    prefillWeights: prefillWeights ?? (await usualPrefillWeights(manifest)),
  })
  return { backend, manifest }
}
