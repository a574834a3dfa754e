import { execFile } from 'node:child_process'
import { rm, writeFile } from 'node:fs/promises'
import { cpus, release, totalmem } from 'node:os'
import { dirname } from 'node:path'
import { promisify } from 'node:util'
import { CliFailure } from '../cli/command/failure.ts'
import { type BackendOptions, createBackend, type OnnxBackend } from '../model/runtime/onnx-backend.ts'
import { pinnedRelease } from '../model/runtime/ort/library.ts'
import { range } from '../model/runtime/row-places.ts'
import { type Device, devices } from '../model/runtime/session.ts'
import { tinyBackbone } from '../test/parity/tiny-backbone.ts'
import { benchBackbone } from './backend.ts'
import { randomAdapter } from './random-adapter.ts'
import { type Figure, report } from './report.ts'
import { decodeStep, prefill, prompt } from './sequences.ts'
import { timed } from './statistics.ts'

/** No measurement begins after this many seconds, so that the whole ends within eight minutes. */
const lastStart = 420
const batches = [1, 8, 32, 64, 128]
const adapterCounts = [0, 8, 64, 1000]
const prompts = [256, 2048, 8000]
const context = 128

interface GpuOptions {
  readonly device?: string | undefined
  readonly tiny?: boolean | undefined
  readonly out?: string | undefined
}

type Loadable = Pick<BackendOptions, 'folder' | 'manifest'>

/** Measures a device in one run, saying at each step what it does. */
export async function benchGpu({ device: name = 'cuda', tiny = false, out }: GpuOptions): Promise<boolean> {
  const device = devices.find((known) => known === name)
  if (device === undefined)
    throw new CliFailure(`unknown device ${name}`, { remedy: `give --device ${devices.join(', ')}` })
  const clock = new Clock()
  const environment = await describeEnvironment(device)
  for (const [key, value] of Object.entries(environment)) clock.say(`${key}: ${value}`)

  const small = await tinyBackbone()
  try {
    const figures: Figure[] = []
    clock.say('numerics: a small random backbone, f32, against the CPU')
    figures.push(await logitsFigure(small, { device, most: 1e-3 }))
    const large: Loadable = tiny ? small : await benchBackbone()
    if (!tiny) {
      clock.say(`numerics: ${large.manifest.slug} against the CPU`)
      figures.push(await logitsFigure(large, { device, most: undefined }))
    }
    const backend = await open(large, device)
    try {
      // A step of the small one takes too little time for its ratios to tell anything.
      const least = tiny ? undefined : 0.98
      figures.push(...(await decodeFigures(backend, { manifest: large.manifest, clock, least })))
      figures.push(...(await prefillFigures(backend, { manifest: large.manifest, clock })))
      figures.push(...(await memoryFigures()))
    } finally {
      await backend.close()
    }
    if (out !== undefined) await writeFile(out, `${JSON.stringify({ environment, figures }, null, 2)}\n`)
    return report(`gpu: ${large.manifest.slug} on ${device}`, figures)
  } finally {
    await rm(dirname(small.folder), { recursive: true })
  }
}

/** Seconds since the start, before each line. */
class Clock {
  readonly #start = performance.now()

  get seconds(): number {
    return (performance.now() - this.#start) / 1000
  }

  say(text: string): void {
    console.log(`${this.seconds.toFixed(0).padStart(4)} s  ${text}`)
  }

  /** Says what begins, or that there is no time left for it. */
  begins(text: string): boolean {
    const hasTime = this.seconds < lastStart
    this.say(hasTime ? text : `left out, no time: ${text}`)
    return hasTime
  }
}

async function describeEnvironment(device: Device): Promise<Record<string, string>> {
  const query = ['--query-gpu=name,driver_version,memory.total', '--format=csv,noheader']
  const gpu = await promisify(execFile)('nvidia-smi', query).then(
    ({ stdout }) => stdout.trim(),
    () => 'nvidia-smi is not here',
  )
  return {
    device,
    gpu,
    cpu: `${cpus().length} × ${cpus()[0]?.model}`,
    memory: `${(totalmem() / 2 ** 30).toFixed(0)} GiB`,
    system: `${process.platform}-${process.arch} ${release()}`,
    node: process.version,
    'onnx runtime': pinnedRelease(),
  }
}

function open({ folder, manifest }: Loadable, device: Device): Promise<OnnxBackend> {
  const limits = { contextLength: 8192, chunkTokens: 512, maxBatch: 128, cacheRows: 128 * 512 }
  return createBackend({ folder, manifest, device, limits })
}

/** Largest difference between a device's logits and the CPU's over a short text. */
async function logitsFigure(
  backbone: Loadable,
  { device, most }: { device: Device; most: number | undefined },
): Promise<Figure> {
  const [expected, found] = [await logitsOn(backbone, 'cpu'), await logitsOn(backbone, device)]
  const value = expected.reduce((worst, x, i) => Math.max(worst, Math.abs(x - (found[i] ?? Number.NaN))), 0)
  return {
    name: `largest difference of a logit from the CPU’s, ${backbone.manifest.slug}`,
    value,
    unit: '',
    ...(most === undefined ? {} : { bound: { kind: 'at most', value: most } }),
  }
}

async function logitsOn(backbone: Loadable, device: Device): Promise<Float32Array> {
  const backend = await open(backbone, device)
  try {
    const tokens = prompt(48, backend.limits.vocab)
    const slot = backend.allocate(tokens.length)
    if (slot === undefined) throw new Error('the backend has no room for a short text')
    return Float32Array.from(await backend.score({ slot, tokens }, range(0, tokens.length)))
  } finally {
    await backend.close()
  }
}

interface Measured {
  readonly manifest: Loadable['manifest']
  readonly clock: Clock
}

async function decodeFigures(
  backend: OnnxBackend,
  { manifest, clock, least }: Measured & { least: number | undefined },
): Promise<Figure[]> {
  const loaded = range(0, Math.max(...adapterCounts)).map((seed) => {
    const file = randomAdapter(manifest, { seed, metadata: { window: '64' } })
    return backend.loadAdapter(file)
  })
  const figures: Figure[] = []
  for (const batch of batches) {
    let plain: number | undefined
    for (const count of adapterCounts) {
      const name = `decode, batch ${batch}, ${count} adapters`
      if (!clock.begins(name)) continue
      const step = await decodeStep(backend, { batch, context, adapters: loaded.slice(0, count) })
      figures.push({ name, value: (1000 * batch) / step, unit: 'tokens/s' })
      if (count === 0) plain = step
      else if (plain !== undefined)
        figures.push({
          name: `${name} / none`,
          value: plain / step,
          unit: '×',
          ...(least === undefined ? {} : { bound: { kind: 'at least', value: least } }),
        })
    }
  }
  return figures
}

async function prefillFigures(backend: OnnxBackend, { manifest, clock }: Measured): Promise<Figure[]> {
  const figures: Figure[] = []
  const { contextLength, vocab } = backend.limits
  for (const length of prompts.filter(
    (tokens) => tokens + 64 <= Math.min(contextLength, manifest.config.contextLength),
  )) {
    const name = `prefill of ${length} tokens`
    if (!clock.begins(name)) continue
    const tokens = prompt(length, vocab)
    const time = await timed(async () => (await prefill(backend, { tokens })).release())
    figures.push({ name, value: time / length, unit: 'ms/token' })
  }
  return figures
}

async function memoryFigures(): Promise<Figure[]> {
  const figures: Figure[] = [
    { name: 'memory of the process', value: process.memoryUsage.rss() / 2 ** 20, unit: 'MiB' },
  ]
  const query = ['--query-compute-apps=pid,used_memory', '--format=csv,noheader,nounits']
  const apps = await promisify(execFile)('nvidia-smi', query).then(
    ({ stdout }) => stdout.split('\n').map((line) => line.split(',').map(Number)),
    () => [],
  )
  const own = apps.find(([pid]) => pid === process.pid)?.[1]
  return own === undefined ? figures : [...figures, { name: 'memory of the device', value: own, unit: 'MiB' }]
}
