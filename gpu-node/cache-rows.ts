import { cacheBytesOf, cacheRowBytes, rowsInBudget } from '../model/runtime/cache-budget.ts'
import type { CacheLayout } from '../model/runtime/cache-layout.ts'
import type { CacheType } from '../model/runtime/cache-type.ts'
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

type CacheSettings = Pick<NodeConfig, 'cacheBytes' | 'cacheRows' | 'prefixBytes'>

/**
 * Rows of a node's KV cache: as many as `--cache-bytes` holds, or `--cache-rows`, or what is left of the device's memory. Throws
 * `invalid_request` for a budget that is less than a request needs, `node_unavailable` where the device has less than is needed.
 */
export function cacheRowsOf(settings: CacheSettings, machine: Machine): number {
  const { cacheBytes, cacheRows } = settings
  const { config } = machine.manifest
  const of = { ...machine, config }
  const rows = cacheBytes === undefined ? cacheRows : rowsInBudget(cacheBytes, of)
  if (rows === undefined) return rowsLeft(settings, machine)
  const setting = cacheBytes === undefined ? '--cache-rows' : '--cache-bytes'
  checkFits(settings, { ...machine, setting, cacheBytes: cacheBytesOf(rows, of) })
  return rows
}

/** Throws `node_unavailable` where the device has less than the weights, the cache and kept prefixes take. */
function checkFits(
  { prefixBytes }: CacheSettings,
  { cacheBytes, freeBytes, manifest, setting }: Machine & { cacheBytes: number; setting: string },
): void {
  const weights = weightBytes(manifest)
  const needed = weights + cacheBytes + prefixBytes
  if (freeBytes === undefined || needed <= freeBytes) return
  throw new QuartetError(
    'node_unavailable',
    `the device has ${mib(freeBytes)} MiB free and ${mib(needed)} MiB are needed: ${mib(weights)} for the weights, ${mib(cacheBytes)} for the KV cache (${setting}) and ${mib(prefixBytes)} for kept prefixes (--prefix-bytes); lower ${setting} or --prefix-bytes, or take a backbone in fewer bits (--weights)`,
  )
}

/** As many rows as fit behind the weights, kept prefixes and the work of a run. */
function rowsLeft({ prefixBytes }: CacheSettings, { freeBytes, manifest, ...form }: Machine): number {
  if (freeBytes === undefined) return usualCacheRows
  const { config } = manifest
  const of = { ...form, config }
  const weights = weightBytes(manifest)
  const left = freeBytes - weights - prefixBytes - workBytes
  // In places a prompt takes a lane as long as itself: what is left is shared by the two, for shorter requests if need be.
  const longest =
    form.layout === 'slots'
      ? cacheRowBytes(config, form.type) * config.contextLength
      : cacheBytesOf(config.contextLength, of)
  if (left >= longest) return rowsInBudget(left, of)
  throw new QuartetError(
    'node_unavailable',
    `the device has ${mib(freeBytes)} MiB free, of which the weights take ${mib(weights)}, kept prefixes ${mib(prefixBytes)} (--prefix-bytes) and the work of a run ${mib(workBytes)}: a cache for one request of ${config.contextLength} tokens, which takes ${mib(longest)}, does not fit; give --cache-bytes for a cache of shorter requests, lower --prefix-bytes, or take a backbone in fewer bits (--weights)`,
  )
}

const weightBytes = ({ files }: Machine['manifest']): number =>
  Object.values(files).reduce((sum, { bytes }) => sum + bytes, 0)

const mib = (bytes: number): number => Math.ceil(bytes / 2 ** 20)
