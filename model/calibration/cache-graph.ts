import type { Backbone } from '../backbone/backbone-folder.ts'
import { decodeOnly } from '../graph/decode-only.ts'
import { withFloat16Cache } from '../graph/float16-cache.ts'
import { withInt8Cache } from '../graph/int8-cache.ts'
import { type PagedType, pagedGraphs, withPagedCache } from '../graph/paged-cache.ts'
import { withRotaryOutside } from '../graph/rotary-outside.ts'
import { type CacheForm, needsTurnedRows, pagedType } from '../runtime/cache-layout.ts'
import { cacheGraphFile } from '../runtime/open-kv-cache.ts'
import type { Device } from '../runtime/session.ts'
import { cacheScales, prepareInt8Cache } from './int8-cache.ts'
import { writeGraph } from './write-graph.ts'

/**
 * Writes the graphs for a cache of this form into the backbone's folder, unless they are there. `tokens`: what the scales of an
 * 8-bit cache are measured on, a text by default. Throws `backbone_invalid`, or `invalid_request` for scales that cannot be
 * measured.
 */
export async function prepareCacheGraph(
  backbone: Backbone,
  { device = 'cpu', layout, type }: CacheForm & { readonly device?: Device },
  tokens?: readonly number[],
): Promise<void> {
  const { config } = backbone.manifest
  if (layout === 'pages') await preparePages(backbone, { type: pagedType(type), tokens })
  else if (type === 'int8') await prepareInt8Cache(backbone, tokens)
  else if (type === 'f16')
    await writeGraph(backbone, {
      file: cacheGraphFile({ layout, type }, { config, device }),
      type,
      make: async (model) =>
        withFloat16Cache(needsTurnedRows(config, device) ? withRotaryOutside(model, config) : model),
    })
}

async function preparePages(
  backbone: Backbone,
  { tokens, type }: { type: PagedType; tokens: readonly number[] | undefined },
): Promise<void> {
  const { config } = backbone.manifest
  let scales: ReturnType<typeof cacheScales> | undefined
  const paged = async (model: Uint8Array) => {
    if (type === 'f16') return withPagedCache(model, config)
    scales ??= cacheScales(backbone, tokens)
    return withPagedCache(withInt8Cache(model, { config, scales: await scales }), config)
  }
  const { decode, serving } = pagedGraphs[type]
  await writeGraph(backbone, { file: serving, type, make: paged })
  await writeGraph(backbone, { file: decode, type, make: async (model) => paged(decodeOnly(model)) })
}
