import { maxPromptRows } from '../../shared/adapter-file.ts'
import type { ModelConfig } from '../../shared/backbone.ts'
import { QuartetError } from '../../shared/errors.ts'
import { maxStacked } from '../../shared/wire.ts'
import { pageRowsOf } from '../graph/paged-cache.ts'
import type { CacheLayout } from './cache-layout.ts'
import { bytesOfCacheType, type CacheType } from './cache-type.ts'
import { spareRows } from './device-places.ts'

/** Least rows of a node's cache: a short request. */
const minCacheRows = 64

/** Rows of the longest stack of adapters but its first part. */
const stackRows = (maxStacked - 1) * maxPromptRows

/** Rows that a cache has memory for beside those of kept prefixes, by what they are for. */
export interface CacheMemory {
  /** Running requests, and what a layout needs to run them. */
  readonly running: number
  /** The parts of a stack of adapters but the first, which are taken out of the cache and put back. The host allocates none. */
  readonly stack: number
}

/** Rows of the longest sequence in a cache of so many rows. */
export const longestIn = (cacheRows: number, layout: CacheLayout): number =>
  layout === 'slots' ? cacheRows - spareRows : cacheRows

/** The memory of a cache of `cacheRows` rows, of which a sequence has `contextLength` at most. */
export function cacheMemory(
  { cacheRows, contextLength }: { readonly cacheRows: number; readonly contextLength: number },
  { config, layout }: { config: ModelConfig; layout: CacheLayout },
): CacheMemory {
  if (layout === 'host') return { running: cacheRows, stack: 0 }
  const stack = Math.min(stackRows, contextLength)
  // The lane has room for the longest sequence.
  if (layout === 'slots') return { running: cacheRows + contextLength, stack }
  const pageRows = pageRowsOf(config)
  return { running: (pagesFor(cacheRows, pageRows) + 1) * pageRows, stack }
}

/** Pages that sequences have in a cache of so many rows; one more is nobody's. */
export const pagesFor = (cacheRows: number, pageRows: number): number => Math.ceil(cacheRows / pageRows)

/** Bytes that one row of every layer, a key and a value for each head of theirs, takes in the KV cache. */
export function cacheRowBytes({ layers, kvHeads, headDim }: ModelConfig, type: CacheType): number {
  return 2 * layers * kvHeads * headDim * bytesOfCacheType[type]
}

interface CacheOf {
  readonly config: ModelConfig
  readonly layout: CacheLayout
  readonly type: CacheType
}

/** Bytes that a node's cache of so many rows takes, without kept prefixes. */
export function cacheBytesOf(cacheRows: number, of: CacheOf): number {
  return rowsInAll(cacheRows, of) * cacheRowBytes(of.config, of.type)
}

/**
 * Rows that running requests have in a KV cache of `bytes` bytes: what is left beside all that the layout needs. Throws
 * `invalid_request` when they are too few for a request.
 */
export function rowsInBudget(bytes: number, of: CacheOf): number {
  const { config, layout, type } = of
  const rowBytes = cacheRowBytes(config, type)
  // More rows never take less.
  let [rows, tooMany] = [0, Math.floor(bytes / rowBytes) + 1]
  while (tooMany - rows > 1) {
    const middle = Math.floor((rows + tooMany) / 2)
    if (cacheBytesOf(middle, of) <= bytes) rows = middle
    else tooMany = middle
  }
  if (rows >= minCacheRows) return rows
  throw new QuartetError(
    'invalid_request',
    `--cache-bytes ${bytes} holds ${rows} tokens of this backbone, less than a request needs: a token takes ${rowBytes} bytes${needs[layout](config)}, so give at least ${cacheBytesOf(minCacheRows, of)}${smaller[layout][type] ?? ''}`,
    { param: '--cache-bytes' },
  )
}

function rowsInAll(cacheRows: number, { config, layout }: CacheOf): number {
  const contextLength = Math.min(config.contextLength, longestIn(cacheRows, layout))
  const { running, stack } = cacheMemory({ cacheRows, contextLength }, { config, layout })
  return running + stack
}

/** Says, in a refusal, which rows a layout has memory for beside those of running requests. */
const needs: Readonly<Record<CacheLayout, (config: ModelConfig) => string>> = {
  host: () => '',
  slots: () =>
    `, those of the longest request are there once more for its prompt, and up to ${stackRows} of them for stacked adapters`,
  pages: (config) =>
    `, they lie in pages of ${pageRowsOf(config)} with one to spare, and up to ${stackRows} are there once more for stacked adapters`,
}

/** The setting that makes a token smaller. */
const smaller: Readonly<Record<CacheLayout, Partial<Record<CacheType, string>>>> = {
  host: { f32: ', or take --cache-type int8' },
  slots: { f32: ', or take --cache-type f16' },
  pages: { f16: ', or take --cache-type int8' },
}
