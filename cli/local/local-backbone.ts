import type { Backbone } from '../../model/backbone/backbone-folder.ts'
import { cachedBackbone, openCache } from '../../model/backbone/cache.ts'
import { catalogue, demoCatalogue } from '../../model/import/catalogue.ts'
import type { PutBackboneRequest } from '../../shared/api/admin.ts'
import { type BackboneManifest, EdgeBackbone } from '../../shared/backbone.ts'
import type { BackboneSlug } from '../../shared/ids.ts'
import { CliFailure } from '../command/failure.ts'

type Weights = BackboneManifest['weights']
const usual: Weights = 'q8'

/** The backbone from this machine's cache. Throws when it is not there. */
export async function requireBackbone(slug: string, weights: Weights = usual): Promise<Backbone> {
  const backbone = await cachedBackbone(openCache().backbone(slug, weights))
  if (backbone === undefined)
    throw new CliFailure(`the backbone ${slug} (${weights}) is not on this machine`, {
      remedy: Object.hasOwn(catalogue, slug)
        ? `get it with quartet backbone pull ${slug} --weights ${weights}`
        : `get it with quartet backbone import PATH --slug ${slug} --weights ${weights}`,
    })
  return backbone
}

interface Obtaining {
  readonly weights?: Weights
  readonly signal: AbortSignal
}

/** The demo's backbone, pulled on first use with its progress on stderr. */
export async function obtainBackbone(
  slug: BackboneSlug,
  { weights = usual, signal }: Obtaining,
): Promise<Backbone> {
  const cached = await cachedBackbone(openCache().backbone(slug, weights)).catch(() => undefined)
  if (cached !== undefined) return cached
  const { pullBackbone } = await import('../../model/import/pull.ts')
  const { progressPrinter } = await import('../command/progress.ts')
  using printer = progressPrinter()
  return await pullBackbone({
    slug,
    weights,
    catalogue: demoCatalogue,
    onProgress: printer.onProgress,
    signal,
  })
}

/** The parts of a backbone that the edge needs: its description and its tokenizer. */
export async function edgeBackbone(backbone: Backbone): Promise<PutBackboneRequest> {
  const { compiledTokenizer } = await import('../../model/import/backbone-tokenizer.ts')
  const { toSent } = await import('../../shared/tokenizer/sent-tokenizer.ts')
  const { manifest } = backbone
  const { contextLength, d, layers, vocab } = manifest.config
  return {
    backbone: EdgeBackbone.parse({
      slug: manifest.slug,
      digest: manifest.digest,
      tokens: manifest.tokens,
      chat: manifest.chat,
      contextLength,
      d,
      layers,
      vocab,
    }),
    tokenizer: toSent(await compiledTokenizer(backbone)),
  }
}
