import { prepareCacheGraph } from '../model/calibration/cache-graph.ts'
import { cacheTypeFor, defaultCacheType, layoutFor } from '../model/runtime/cache-layout.ts'
import type { CacheType } from '../model/runtime/cache-type.ts'
import { type BackendOptions, createBackend } from '../model/runtime/create-backend.ts'
import type { OnnxBackend } from '../model/runtime/onnx-backend.ts'
import type { Device } from '../model/runtime/session.ts'

export interface Loadable extends Pick<BackendOptions, 'folder' | 'manifest'> {
  /** The tokens that the scales of an 8-bit cache are measured on, for a backbone whose tokenizer reads no text. */
  readonly calibration?: readonly number[]
}

/** The device that is measured, and the type of its KV cache. */
export interface Measured {
  readonly device: Device
  readonly cacheType: CacheType
}

export const onCpu: Measured = { device: 'cpu', cacheType: defaultCacheType.cpu }

/** A device with the type of cache that it has for a backbone: where that one has no cache of the type, the device's own. */
export function servedAs({ manifest: { config } }: Loadable, on: Measured): Measured {
  return { ...on, cacheType: cacheTypeFor(config, on) }
}

/** Room for the longest prompt and the largest batch. */
const wholeLimits = { contextLength: 8192, chunkTokens: 512, maxBatch: 128, cacheRows: 128 * 512 }

/** A backbone as a node on this device has it. */
export async function openOn(
  { calibration, folder, manifest }: Loadable,
  on: Measured,
  { decodeGraph, limits }: { decodeGraph?: boolean; limits?: Partial<typeof wholeLimits> } = {},
): Promise<OnnxBackend> {
  const layout = layoutFor(manifest.config, on.device)
  await prepareCacheGraph(
    { folder, manifest },
    { device: on.device, layout, type: on.cacheType },
    calibration,
  )
  return createBackend({ folder, manifest, ...on, decodeGraph, limits: { ...wholeLimits, ...limits } })
}
