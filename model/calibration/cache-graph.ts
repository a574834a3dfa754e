import type { Backbone } from '../backbone/backbone-folder.ts'
import { decodeOnly } from '../graph/decode-only.ts'
import { float16CacheGraph, withFloat16Cache } from '../graph/float16-cache.ts'
import { pagedCacheGraph, pagedDecodeGraph, withPagedCache } from '../graph/paged-cache.ts'
import type { CacheLayout, CacheType } from '../runtime/cache-type.ts'
import { prepareInt8Cache } from './int8-cache.ts'
import { writeGraph } from './write-graph.ts'

/** Writes the graphs for a cache of this form into the backbone's folder, unless they are there. Throws `backbone_invalid`. */
export async function prepareCacheGraph(
  backbone: Backbone,
  { layout, type }: { layout: CacheLayout; type: CacheType },
): Promise<void> {
  const { config } = backbone.manifest
  if (layout === 'pages') {
    await writeGraph(backbone, {
      file: pagedCacheGraph,
      type,
      make: async (model) => withPagedCache(model, config),
    })
    await writeGraph(backbone, {
      file: pagedDecodeGraph,
      type,
      make: async (model) => withPagedCache(decodeOnly(model), config),
    })
  } else if (type === 'int8') await prepareInt8Cache(backbone)
  else if (type === 'f16')
    await writeGraph(backbone, {
      file: float16CacheGraph,
      type,
      make: async (model) => withFloat16Cache(model),
    })
}
