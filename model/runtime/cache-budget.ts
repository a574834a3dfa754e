import type { ModelConfig } from '../../shared/backbone.ts'
import { QuartetError } from '../../shared/errors.ts'
import { bytesOfCacheType, type CacheType } from './cache-type.ts'

/** Least rows of a node's cache: a short request. */
const minCacheRows = 64

/** Bytes that one row of every layer, a key and a value for each head of theirs, takes in the KV cache. */
export function cacheRowBytes({ layers, kvHeads, headDim }: ModelConfig, type: CacheType): number {
  return 2 * layers * kvHeads * headDim * bytesOfCacheType[type]
}

/** Rows of a KV cache of `bytes` bytes. Throws `invalid_request` when they are too few for a request. */
export function rowsInBudget(
  bytes: number,
  { config, type }: { config: ModelConfig; type: CacheType },
): number {
  const rowBytes = cacheRowBytes(config, type)
  const rows = Math.floor(bytes / rowBytes)
  if (rows < minCacheRows)
    throw new QuartetError(
      'invalid_request',
      `--cache-bytes ${bytes} holds ${rows} tokens of this backbone, less than a request needs: a token takes ${rowBytes} bytes, so give at least ${minCacheRows * rowBytes}${type === 'f32' ? ', or take --cache-type int8' : ''}`,
      { param: '--cache-bytes' },
    )
  return rows
}
