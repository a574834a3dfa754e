import type { ModelConfig } from '../../shared/backbone.ts'
import { QuartetError } from '../../shared/errors.ts'
import { type PagedType, reasonAgainstPages } from '../graph/paged-cache.ts'
import { scalesWithLength } from '../graph/rotary-table.ts'
import type { CacheType } from './cache-type.ts'
import type { Device } from './session.ts'

/**
 * Where keys and values lie: in host memory, or in a device's, where each sequence has a place for the longest one, or pages.
 */
export type CacheLayout = 'host' | 'slots' | 'pages'

/** Whether a device's attention must get queries and keys that are turned already (`withRotaryOutside`). */
export const needsTurnedRows = (config: ModelConfig, device: Device): boolean =>
  device === 'cuda' && scalesWithLength(config)

export interface CacheForm {
  readonly layout: CacheLayout
  readonly type: CacheType
}

/** The layout of each device for most models (`layoutFor`). */
const layoutOn: Readonly<Record<Device, CacheLayout>> = { cpu: 'host', webgpu: 'slots', cuda: 'pages' }

/** The layout of a model on a device unless a caller says otherwise. A model that pages do not serve has places. */
export function layoutFor(config: ModelConfig, device: Device): CacheLayout {
  const layout = layoutOn[device]
  return layout === 'pages' && reasonAgainstPages(config) !== undefined ? 'slots' : layout
}

/** Throws `backbone_invalid` for a model whose heads no attention of the device takes. */
export function checkHeads({ headDim }: Pick<ModelConfig, 'headDim'>, device: Device): void {
  if (device === 'cuda' && headDim % 8 !== 0)
    throw new QuartetError(
      'backbone_invalid',
      `this backbone's heads are ${headDim} numbers wide, and CUDA's attention takes multiples of 8 alone; use --device webgpu or cpu`,
    )
}

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

/** The types that CUDA's attention over places takes. */
const typesInCudaSlots: readonly CacheType[] = ['f16']

/** Where a cache lies; by default where the device has it for most models. */
interface CachePlace {
  readonly device: Device
  readonly layout?: CacheLayout
}

function typesOf({ device, layout = layoutOn[device] }: CachePlace): readonly CacheType[] {
  return isCudaSlots({ device, layout }) ? typesInCudaSlots : typesIn[layout]
}

const isCudaSlots = ({ device, layout }: CachePlace): boolean => device === 'cuda' && layout === 'slots'

/** The type that was asked for where the device has it for a model, and else the device's own. */
export function cacheTypeFor(
  config: ModelConfig,
  { device, cacheType }: { readonly device: Device; readonly cacheType: CacheType },
): CacheType {
  const types = typesOf({ device, layout: layoutFor(config, device) })
  return types.includes(cacheType) ? cacheType : defaultCacheType[device]
}

/** Throws `invalid_request` for a type of cache that is not there. */
export function checkCacheType(type: CacheType, place: CachePlace): void {
  const types = typesOf(place)
  if (types.includes(type)) return
  const backbone = isCudaSlots(place) ? ' with this backbone, whose attention pages do not have' : ''
  throw new QuartetError(
    'invalid_request',
    `--cache-type ${type} is not for --device ${place.device}${backbone}: its KV cache is ${types.join(' or ')}`,
    { param: '--cache-type' },
  )
}
