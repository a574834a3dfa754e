import { CliFailure } from '../cli/command/failure.ts'
import { checkCacheType, defaultCacheType } from '../model/runtime/cache-layout.ts'
import { devices } from '../model/runtime/session.ts'
import { benchBackbone, benchSlug, cacheTypeNamed } from './backend.ts'
import type { Measured } from './gpu-backbone.ts'
import { Clock } from './gpu-clock.ts'
import { endingEarly } from './gpu-interruption.ts'
import { smolLmBounds, tinyBounds } from './gpu-numerics.ts'
import { measureDevice } from './gpu-parts.ts'
import { randomBackbone, randomBounds, randomSlug, smallBackbone } from './gpu-random-backbones.ts'
import { GpuRun } from './gpu-run.ts'
import { smallSizes, wholeSizes } from './gpu-sizes.ts'

interface GpuOptions {
  readonly device?: string | undefined
  readonly 'cache-type'?: string | undefined
  readonly tiny?: boolean | undefined
  readonly random?: boolean | undefined
  readonly out?: string | undefined
  readonly minutes?: string | undefined
}

/** Measures a device in one run, saying at each step what it does. */
export async function benchGpu({
  out,
  random = false,
  tiny = false,
  ...options
}: GpuOptions): Promise<boolean> {
  if (random && tiny)
    throw new CliFailure('--random and --tiny are two backbones', { remedy: 'give one of them' })
  const on = measured(options)
  const run = new GpuRun({ clock: new Clock(limitOf(options)), out })
  using _ = endingEarly(run)
  using made = new DisposableStack()
  if (tiny)
    // A step of it takes too little time for its ratios to tell anything.
    return await measureDevice(run, {
      on,
      name: 'tiny',
      backbone: () => smallBackbone(made),
      bounds: tinyBounds,
      sizes: smallSizes,
    })
  return await measureDevice(run, {
    on,
    ...(random
      ? { name: randomSlug, backbone: () => randomBackbone(made), bounds: randomBounds }
      : { name: benchSlug, backbone: () => benchBackbone(), bounds: smolLmBounds }),
    sizes: wholeSizes,
    leastRatio: 0.98,
  })
}

/** A day: timers do not take any time. */
const mostMinutes = 1440

function limitOf({ minutes = '8' }: GpuOptions): number {
  const limit = Number(minutes)
  if (limit > 0 && limit <= mostMinutes) return limit
  throw new CliFailure(`--minutes is no number above 0 and up to ${mostMinutes}: ${minutes}`, {
    remedy: 'give for example --minutes 6',
  })
}

function measured({ 'cache-type': type, device: name = 'cuda' }: GpuOptions): Measured {
  const device = devices.find((known) => known === name)
  if (device === undefined)
    throw new CliFailure(`unknown device ${name}`, { remedy: `give --device ${devices.join(', ')}` })
  const cacheType = cacheTypeNamed(type) ?? defaultCacheType[device]
  checkCacheType(cacheType, { device })
  return { device, cacheType }
}
