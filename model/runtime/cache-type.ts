import { QuartetError } from '../../shared/errors.ts'
import type { Device } from './session.ts'

/**
 * How keys and values are kept in the KV cache: as floats of 32 or 16 bits, or in 8 bits with a scale for each channel of a
 * head.
 */
export const cacheTypes = ['f32', 'f16', 'int8'] as const
export type CacheType = (typeof cacheTypes)[number]

/** Bytes of one number of a key or value. */
export const bytesOfCacheType: Readonly<Record<CacheType, number>> = { f32: 4, f16: 2, int8: 1 }

/** Where keys and values lie. */
export type CachePlace = 'host' | 'device'

/** Where those of each device lie unless a caller says otherwise. */
export const placeOn: Readonly<Record<Device, CachePlace>> = { cpu: 'host', webgpu: 'device', cuda: 'device' }

/** The type of cache that each device has unless a setting says otherwise. */
export const defaultCacheType: Readonly<Record<Device, CacheType>> = {
  cpu: 'f32',
  webgpu: 'f16',
  cuda: 'f16',
}

/** Throws `invalid_request` for a type of cache that a place does not have. */
export function checkCacheType(
  type: CacheType,
  { device, place = placeOn[device] }: { device: Device; place?: CachePlace },
): void {
  if (type !== (place === 'host' ? 'f16' : 'int8')) return
  throw new QuartetError(
    'invalid_request',
    place === 'host'
      ? '--cache-type f16 is for GPUs; on the CPU the KV cache is f32 or int8'
      : `--cache-type int8 is for --device cpu; on ${device} the KV cache is f16 or f32`,
    { param: '--cache-type' },
  )
}
