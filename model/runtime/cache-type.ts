import { QuartetError } from '../../shared/errors.ts'
import type { PagedType } from '../graph/paged-cache.ts'
import type { Device } from './session.ts'

/**
 * How keys and values are kept in the KV cache: as floats of 32 or 16 bits, or in 8 bits with a scale for each channel of a
 * head.
 */
export const cacheTypes = ['f32', 'f16', 'int8'] as const
export type CacheType = (typeof cacheTypes)[number]

/** Bytes of one number of a key or value. */
export const bytesOfCacheType: Readonly<Record<CacheType, number>> = { f32: 4, f16: 2, int8: 1 }

/**
 * Where keys and values lie: in host memory, or in a device's, where each sequence has a place for the longest one, or pages.
 */
export type CacheLayout = 'host' | 'slots' | 'pages'

export interface CacheForm {
  readonly layout: CacheLayout
  readonly type: CacheType
}

/** The layout of each device unless a caller says otherwise. */
export const layoutOn: Readonly<Record<Device, CacheLayout>> = { cpu: 'host', webgpu: 'slots', cuda: 'pages' }

/** The type of cache that each device has unless a setting says otherwise. */
export const defaultCacheType: Readonly<Record<Device, CacheType>> = {
  cpu: 'f32',
  webgpu: 'f16',
  cuda: 'f16',
}

/** The type of a cache in pages, which `checkCacheType` has let through. */
export const pagedType = (type: CacheType): PagedType => (type === 'int8' ? 'int8' : 'f16')

const typesIn: Readonly<Record<CacheLayout, readonly CacheType[]>> = {
  host: ['f32', 'int8'],
  slots: ['f16', 'f32'],
  pages: ['f16', 'int8'],
}

/** Throws `invalid_request` for a type of cache that a layout does not have. */
export function checkCacheType(
  type: CacheType,
  { device, layout = layoutOn[device] }: { device: Device; layout?: CacheLayout },
): void {
  if (typesIn[layout].includes(type)) return
  throw new QuartetError(
    'invalid_request',
    `--cache-type ${type} is not for --device ${device}, whose KV cache is ${typesIn[layout].join(' or ')}`,
    { param: '--cache-type' },
  )
}
