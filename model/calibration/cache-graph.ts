import type { Backbone } from '../backbone/backbone-folder.ts'
import { float16CacheGraph, withFloat16Cache } from '../graph/float16-cache.ts'
import type { CacheType } from '../runtime/cache-type.ts'
import { prepareInt8Cache } from './int8-cache.ts'
import { writeGraph } from './write-graph.ts'

/** Writes the graph for a type of cache into the backbone's folder, unless it is there. Throws `backbone_invalid`. */
export async function prepareCacheGraph(backbone: Backbone, type: CacheType): Promise<void> {
  if (type === 'int8') await prepareInt8Cache(backbone)
  if (type === 'f16')
    await writeGraph(backbone, {
      file: float16CacheGraph,
      type,
      make: async (model) => withFloat16Cache(model),
    })
}
