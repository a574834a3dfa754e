import { type Loadable, type Measured, openOn } from './gpu-backbone.ts'
import type { Expected } from './gpu-clock.ts'
import { crossingFigure } from './gpu-crossing.ts'
import { describeEnvironment, memoryFigures } from './gpu-environment.ts'
import { neighbourFigures } from './gpu-neighbours.ts'
import { type LogitBounds, logitsFigures, measureArchitectures } from './gpu-numerics.ts'
import { measureCaptured, measureDecode, measurePrefill, measureStep } from './gpu-rates.ts'
import type { GpuRun } from './gpu-run.ts'
import type { Sizes } from './gpu-sizes.ts'
import { startFigure } from './gpu-start.ts'

/** A device to measure, with a backbone. */
interface Subject {
  readonly on: Measured
  /** The backbone's slug. */
  readonly name: string
  readonly backbone: () => Promise<Loadable>
  /** Its logits are held to these. */
  readonly bounds: LogitBounds
  readonly sizes: Sizes
  /** How much of the rate without adapters is to be left with them. */
  readonly leastRatio?: number
}

/** Measures a device, part by part: says whether no part failed and every bound holds. */
export async function measureDevice(run: GpuRun, subject: Subject): Promise<boolean> {
  const { name, on, sizes } = subject
  const environment = await run.part('what the machine is', () => describeEnvironment(on.device))
  run.describe(
    { ...environment, device: on.device, backbone: name, 'kv cache': on.cacheType },
    `gpu: ${name} on ${on.device}`,
  )
  // A backbone that is not here is to be known at once, and not after minutes.
  const backbone = await run.part(`finding the backbone ${name}`, subject.backbone)
  const started = await run.part(`starting ${on.device}`, () => startFigure(on.device))
  if (started === undefined) run.leaveOut('everything else', `${on.device} does not start`)
  else {
    run.add(started)
    await measureArchitectures(run, { on, sizes })
    await run.measure('NaN of one sequence beside others', () => neighbourFigures(on, run))
    if (backbone === undefined)
      run.leaveOut(`numerics and rates of ${name}`, `the backbone ${name} is not on this machine`)
    else await measureBackbone(run, { ...subject, loadable: backbone })
  }
  return run.end()
}

const loading: Expected = { like: ['loading the backbone'] }

async function measureBackbone(
  run: GpuRun,
  { bounds, leastRatio, loadable, name, on, sizes }: Subject & { readonly loadable: Loadable },
): Promise<void> {
  const { manifest } = loadable
  await run.measure(`numerics: ${name} against the CPU`, () => logitsFigures(loadable, { on, bounds, run }))
  const backend = await run.part(`loading ${name} on ${on.device}`, () => openOn(loadable, on), loading)
  if (backend === undefined) run.leaveOut('decode, prefill, steps, what crosses', `${name} is not loaded`)
  else
    try {
      const rated = { backend, manifest, sizes }
      await run.measure('what crosses between the device and the host', async () => [
        await crossingFigure(backend, { config: manifest.config, on }),
      ])
      await measureDecode(run, { ...rated, least: leastRatio })
      await measurePrefill(run, rated)
      await measureStep(run, rated)
      await run.measure('memory', memoryFigures)
    } finally {
      await run.giveBack(`closing ${name}`, () => backend.close())
    }
  if (on.device === 'cuda') await measureWithoutCapture(run, { loadable, name, on, sizes })
}

async function measureWithoutCapture(
  run: GpuRun,
  { loadable, name, on, sizes }: Pick<Subject, 'name' | 'on' | 'sizes'> & { readonly loadable: Loadable },
): Promise<void> {
  const backend = await run.part(
    `loading ${name} once more, without captured runs`,
    () => openOn(loadable, on, { decodeGraph: false }),
    loading,
  )
  if (backend === undefined)
    run.leaveOut('captured runs against others', `${name} is not loaded without captured runs`)
  else
    try {
      await measureCaptured(run, { backend, sizes })
    } finally {
      await run.giveBack(`closing ${name}`, () => backend.close())
    }
}
