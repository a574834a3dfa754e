import { requireBackbone } from '../cli/local/local-backbone.ts'
import type { Backbone } from '../model/backbone/backbone-folder.ts'
import type { Backend } from '../model/runtime/backend.ts'
import { type BackendOptions, createBackend } from '../model/runtime/onnx-backend.ts'
import type { BackboneManifest } from '../shared/backbone.ts'
import { BackboneSlug } from '../shared/ids.ts'

const slug = BackboneSlug.parse('smollm2-135m-instruct')

/** The backbone every benchmark runs on: 8-bit weights, from this machine's cache. */
export function benchBackbone(): Promise<Backbone> {
  return requireBackbone(slug)
}

/** The backend as a node has it by default, without a node around it. */
export async function openBenchBackend(
  options: Pick<BackendOptions, 'threads'> = {},
): Promise<{ backend: Backend; manifest: BackboneManifest }> {
  const { folder, manifest } = await benchBackbone()
  const limits = { contextLength: 8192, chunkTokens: 256, maxBatch: 16, cacheRows: 16_384 }
  return { backend: await createBackend({ folder, manifest, device: 'cpu', limits, ...options }), manifest }
}
