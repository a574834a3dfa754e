import type { Backend } from '../gpu-node/engine/backend.ts'
import type { Backbone } from '../gpu-node/model/backbone-folder.ts'
import { cachedBackbone, openCache } from '../gpu-node/model/cache.ts'
import { createBackend } from '../gpu-node/runtime/backend.ts'
import type { BackboneManifest } from '../shared/backbone.ts'
import { BackboneSlug } from '../shared/ids.ts'

const slug = BackboneSlug.parse('smollm2-135m-instruct')

/** The backbone every benchmark runs on: 8-bit weights, from this machine's cache. */
export async function benchBackbone(): Promise<Backbone> {
  const backbone = await cachedBackbone(openCache().backbone(slug, 'q8'))
  if (backbone === undefined) throw new Error(`get the backbone first: npx quartet backbone pull ${slug}`)
  return backbone
}

/** The backend as a node has it by default, without a node around it. */
export async function openBenchBackend(): Promise<{ backend: Backend; manifest: BackboneManifest }> {
  const { folder, manifest } = await benchBackbone()
  const limits = { contextLength: 8192, chunkTokens: 256, maxBatch: 16, cacheRows: 16_384 }
  return { backend: await createBackend({ folder, manifest, device: 'cpu', limits }), manifest }
}
