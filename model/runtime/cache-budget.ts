import { maxPromptRows } from '../../shared/adapter-file.ts'
import type { ModelConfig } from '../../shared/backbone.ts'
import { QuartetError } from '../../shared/errors.ts'
import { maxStacked } from '../../shared/wire.ts'
import { bytesOfCacheType, type CacheLayout, type CacheType } from './cache-type.ts'

/** Least rows of a node's cache: a short request. */
const minCacheRows = 64

/**
 * Rows that a device keeps beside those of prefixes, for a stack of adapters in a request of so many rows: all parts but the
 * first are taken out of the cache and put back.
 */
export const stackRows = (contextLength: number): number =>
  Math.min((maxStacked - 1) * maxPromptRows, contextLength)

/** Bytes that one row of every layer, a key and a value for each head of theirs, takes in the KV cache. */
export function cacheRowBytes({ layers, kvHeads, headDim }: ModelConfig, type: CacheType): number {
  return 2 * layers * kvHeads * headDim * bytesOfCacheType[type]
}

/**
 * Rows that running requests have in a KV cache of `bytes` bytes. In slots, those of the longest request are needed once
 * more, for its prompt. Throws `invalid_request` when they are too few for a request.
 */
export function rowsInBudget(
  bytes: number,
  { config, layout, type }: { config: ModelConfig; layout: CacheLayout; type: CacheType },
): number {
  const rowBytes = cacheRowBytes(config, type)
  const all = Math.floor(bytes / rowBytes)
  const twice = layout === 'slots' ? Math.min(config.contextLength, Math.floor(all / 2)) : 0
  const rows = all - twice
  const least = layout === 'slots' ? 2 * minCacheRows : minCacheRows
  if (rows >= minCacheRows) return rows
  throw new QuartetError(
    'invalid_request',
    `--cache-bytes ${bytes} holds ${rows} tokens of this backbone, less than a request needs: a token takes ${rowBytes} bytes, so give at least ${least * rowBytes}${smaller[layout][type] ?? ''}`,
    { param: '--cache-bytes' },
  )
}

/** The setting that makes a token smaller. */
const smaller: Readonly<Record<CacheLayout, Partial<Record<CacheType, string>>>> = {
  host: { f32: ', or take --cache-type int8' },
  slots: { f32: ', or take --cache-type f16' },
  pages: { f16: ', or take --cache-type int8' },
}
