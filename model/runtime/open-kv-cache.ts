import type { ModelConfig } from '../../shared/backbone.ts'
import { graphFiles } from '../graph/export.ts'
import { float16CacheGraph, float16TurnedGraph } from '../graph/float16-cache.ts'
import { int8CacheGraph } from '../graph/int8-cache.ts'
import { pagedGraphs } from '../graph/paged-cache.ts'
import type { BackendLimits } from './backend.ts'
import { cacheRowBytes } from './cache-budget.ts'
import { type CacheForm, needsTurnedRows, pagedType } from './cache-layout.ts'
import type { CacheType } from './cache-type.ts'
import { DeviceKvCache } from './device-kv-cache.ts'
import type { DeviceCacheType } from './device-rows.ts'
import { HostKvCache } from './host-kv-cache.ts'
import type { KvCache } from './kv-cache.ts'
import { isCache, memoryOnDevice } from './memory-on-device.ts'
import { PagedKvCache } from './paged-kv-cache.ts'
import type { Device, InferenceSession } from './session.ts'

/** The file of the serving graph whose cache has this form. */
export function cacheGraphFile(
  { layout, type }: CacheForm,
  { config, device }: { config: ModelConfig; device: Device },
): string {
  if (layout === 'pages') return pagedGraphs[pagedType(type)].serving
  if (type === 'f16' && needsTurnedRows(config, device)) return float16TurnedGraph
  return { f32: graphFiles.serving, f16: float16CacheGraph, int8: int8CacheGraph }[type]
}

const elementTypes: Readonly<Record<CacheType, DeviceCacheType>> = {
  f32: 'float32',
  f16: 'float16',
  int8: 'int8',
}

/** The cache of a session's graph. Throws `node_unavailable` when a device lacks what it needs. */
export async function openKvCache(
  session: InferenceSession,
  {
    config,
    device,
    form: { layout, type },
    keptBytes,
    limits,
  }: { config: ModelConfig; device: Device; form: CacheForm; keptBytes: number; limits: BackendLimits },
): Promise<KvCache> {
  if (layout === 'host')
    return new HostKvCache(config, {
      ...limits,
      type,
      firstCapacity: limits.contextLength,
      bind: (tensors) => session.bind(tensors),
    })
  const prefixRows = Math.floor(keptBytes / cacheRowBytes(config, type))
  const opening = {
    device,
    type: elementTypes[type],
    memory: memoryOnDevice(session, session.inputs.filter(isCache), {
      device,
      work: 'the attention of this backbone',
    }),
    limits: { ...limits, prefixRows },
  }
  return layout === 'slots' ? DeviceKvCache.open(config, opening) : PagedKvCache.open(config, opening)
}
