/**
 * How keys and values are kept in the KV cache: as floats of 32 or 16 bits, or in 8 bits with a scale for each channel of a
 * head.
 */
export const cacheTypes = ['f32', 'f16', 'int8'] as const
export type CacheType = (typeof cacheTypes)[number]

/** Bytes of one number of a key or value. */
export const bytesOfCacheType: Readonly<Record<CacheType, number>> = { f32: 4, f16: 2, int8: 1 }
