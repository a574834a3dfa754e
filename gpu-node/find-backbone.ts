import { type Backbone, openBackbone } from '../model/backbone/backbone-folder.ts'
import { cachedBackbone, openCache } from '../model/backbone/cache.ts'
import { QuartetError } from '../shared/errors.ts'
import type { NodeConfig } from './config.ts'

/** A folder, or the name of a backbone in the cache. Throws `not_found`, or `conflict` for a folder of other weights. */
export async function findBackbone(
  { backbone: named, weights }: Pick<NodeConfig, 'backbone' | 'weights'>,
  cache = openCache(),
): Promise<Backbone> {
  if (named.includes('/')) {
    const backbone = await openBackbone(named)
    if (weights === undefined || backbone.manifest.weights === weights) return backbone
    throw new QuartetError(
      'conflict',
      `${named} holds weights in ${backbone.manifest.weights}, and --weights says ${weights}; leave it out, or name the other folder`,
    )
  }
  const form = weights ?? 'q8'
  const cached = await cachedBackbone(cache.backbone(named, form))
  if (cached !== undefined) return cached
  throw new QuartetError(
    'not_found',
    `no backbone ${named} (${form}) in the cache; run \`quartet backbone pull ${named} --weights ${form}\``,
  )
}
