import { cacheRowBytes, rowsInBudget } from '../model/runtime/cache-budget.ts'
import type { CacheLayout, CacheType } from '../model/runtime/cache-type.ts'
import type { BackboneManifest } from '../shared/backbone.ts'
import { QuartetError } from '../shared/errors.ts'
import type { NodeConfig } from './config.ts'

/** Rows of the KV cache where no setting says how many and the device does not tell what it has. */
export const usualCacheRows = 16_384

/** Memory of a device that runs need for what is neither weights nor cache. */
const workBytes = 2 ** 30

/** What the rows of a cache depend on beside the settings. */
interface Machine {
  readonly manifest: Pick<BackboneManifest, 'config' | 'files'>
  readonly layout: CacheLayout
  readonly type: CacheType
  /** Memory that the device has free before the backbone is loaded; undefined where nobody can tell. */
  readonly freeBytes: number | undefined
}

/**
 * Rows of a node's KV cache: as many as `--cache-bytes` holds, or `--cache-rows`, or what is left of the device's memory. Throws
 * `invalid_request` for a budget that is less than a request needs, `node_unavailable` where nothing is left.
 */
export function cacheRowsOf(
  { cacheBytes, cacheRows, prefixBytes }: Pick<NodeConfig, 'cacheBytes' | 'cacheRows' | 'prefixBytes'>,
  { freeBytes, layout, manifest, type }: Machine,
): number {
  const { config, files } = manifest
  if (cacheBytes !== undefined) return rowsInBudget(cacheBytes, { config, layout, type })
  if (cacheRows !== undefined) return cacheRows
  if (freeBytes === undefined) return usualCacheRows
  const weights = Object.values(files).reduce((sum, { bytes }) => sum + bytes, 0)
  const left = freeBytes - weights - prefixBytes - workBytes
  if (left >= cacheRowBytes(config, type) * config.contextLength)
    return rowsInBudget(left, { config, layout, type })
  const mib = (bytes: number) => Math.ceil(bytes / 2 ** 20)
  throw new QuartetError(
    'node_unavailable',
    `the device has ${mib(freeBytes)} MiB free, of which the weights take ${mib(weights)}, kept prefixes ${mib(prefixBytes)} (--prefix-bytes) and the work of a run ${mib(workBytes)}: a request of ${config.contextLength} tokens, which takes ${mib(cacheRowBytes(config, type) * config.contextLength)}, does not fit; give --cache-bytes for a cache of shorter requests, lower --prefix-bytes, or take a backbone in fewer bits (--weights)`,
  )
}
