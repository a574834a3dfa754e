import { rm, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { CliFailure } from '../cli/command/failure.ts'
import { checkCacheType, defaultCacheType } from '../model/runtime/cache-type.ts'
import { devices } from '../model/runtime/session.ts'
import { tinyBackbone } from '../test/parity/tiny-backbone.ts'
import { benchBackbone, cacheTypeNamed } from './backend.ts'
import { type Loadable, type Measured, openOn } from './gpu-backbone.ts'
import { Clock } from './gpu-clock.ts'
import { describeEnvironment, memoryFigures } from './gpu-environment.ts'
import { architectureFigures, logitsFigure } from './gpu-numerics.ts'
import { capturedFigures, crossingFigure, decodeFigures, prefillFigures, stepFigure } from './gpu-rates.ts'
import { smallSizes, wholeSizes } from './gpu-sizes.ts'
import { type Figure, report } from './report.ts'

interface GpuOptions {
  readonly device?: string | undefined
  readonly 'cache-type'?: string | undefined
  readonly tiny?: boolean | undefined
  readonly out?: string | undefined
}

/** More than the inputs of a step take, and less than one layer's rows of the sequences. */
const mostCrossing = 256 * 1024

/** Measures a device in one run, saying at each step what it does. */
export async function benchGpu({ out, tiny = false, ...options }: GpuOptions): Promise<boolean> {
  const on = measured(options)
  const clock = new Clock()
  const environment = await describeEnvironment(on.device)
  for (const [key, value] of Object.entries(environment)) clock.say(`${key}: ${value}`)
  clock.say(`KV cache: ${on.cacheType}`)

  const sizes = tiny ? smallSizes : wholeSizes
  const figures = await architectureFigures(on, { clock, sizes })
  const small = tiny ? await tinyBackbone() : undefined
  try {
    const backbone = small ?? (await benchBackbone())
    const { manifest } = backbone
    if (!tiny && clock.begins(`numerics: ${manifest.slug} against the CPU`))
      figures.push(await logitsFigure(backbone, { on, most: undefined }))
    clock.say(`loading ${manifest.slug} on ${on.device}`)
    const backend = await openOn(backbone, on)
    try {
      const rated = { manifest, clock, sizes }
      // A step of the small one takes too little time for its ratios to tell anything.
      figures.push(...(await decodeFigures(backend, { ...rated, least: tiny ? undefined : 0.98 })))
      figures.push(...(await prefillFigures(backend, rated)), ...(await stepFigure(backend, rated)))
      clock.say('what crosses between the device and the host; memory')
      figures.push(
        await crossingFigure(backend, { most: on.device === 'cpu' ? undefined : mostCrossing }),
        ...(await memoryFigures()),
      )
    } finally {
      await backend.close()
    }
    if (on.device === 'cuda') figures.push(...(await withoutCapture(backbone, { on, clock, figures, sizes })))
    return await told(figures, { environment, out, title: `gpu: ${manifest.slug} on ${on.device}` })
  } finally {
    if (small !== undefined) await rm(dirname(small.folder), { recursive: true })
  }
}

async function withoutCapture(
  backbone: Loadable,
  { on, ...measuring }: { on: Measured } & Parameters<typeof capturedFigures>[1],
): Promise<Figure[]> {
  const backend = await openOn(backbone, on, { decodeGraph: false })
  try {
    return await capturedFigures(backend, measuring)
  } finally {
    await backend.close()
  }
}

function measured({ 'cache-type': type, device: name = 'cuda' }: GpuOptions): Measured {
  const device = devices.find((known) => known === name)
  if (device === undefined)
    throw new CliFailure(`unknown device ${name}`, { remedy: `give --device ${devices.join(', ')}` })
  const cacheType = cacheTypeNamed(type) ?? defaultCacheType[device]
  checkCacheType(cacheType, { device })
  return { device, cacheType }
}

async function told(
  figures: readonly Figure[],
  {
    environment,
    out,
    title,
  }: { environment: Record<string, string>; out: string | undefined; title: string },
): Promise<boolean> {
  if (out !== undefined) await writeFile(out, `${JSON.stringify({ environment, figures }, null, 2)}\n`)
  return report(title, figures)
}
