import { mkdtemp, readdir } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { importSource } from '../model/import/import.ts'
import { openSource } from '../model/import/source.ts'
import type { CacheSlot, LoadedAdapter, StepPart } from '../model/runtime/backend.ts'
import { checkHeads } from '../model/runtime/cache-type.ts'
import { longChunkDifference, mostLongChunkDifference } from '../model/runtime/long-chunk-check.ts'
import type { OnnxBackend } from '../model/runtime/onnx-backend.ts'
import { range } from '../model/runtime/row-places.ts'
import { QuartetError } from '../shared/errors.ts'
import { type Loadable, type Measured, onCpu, openOn } from './gpu-backbone.ts'
import type { GpuRun } from './gpu-run.ts'
import { removedInTheEnd } from './gpu-scratch.ts'
import type { Sizes } from './gpu-sizes.ts'
import { randomAdapter } from './random-adapter.ts'
import type { Figure, Row } from './report.ts'
import { prompt } from './sequences.ts'

/** Random checkpoints of a few thousand weights, one for each architecture. */
const checkpoints = join(import.meta.dirname, '../test/fixtures/backbones')

/** How far a logit may lie from the CPU's, by the type of cache that the device has. */
const bounds = { f32: 1e-3, f16: 0.05, int8: 0.5 } as const

/** Adds the differences between a device's logits and the CPU's for a tiny model of each architecture. */
export async function measureArchitectures(
  run: GpuRun,
  { on, sizes: { architectures } }: { on: Measured; sizes: Sizes },
): Promise<void> {
  const found = await run.part('numerics: finding the tiny models', async () => {
    if (architectures !== undefined) return architectures
    const entries = await readdir(checkpoints, { withFileTypes: true })
    return entries.filter((entry) => entry.isDirectory()).map(({ name }) => name)
  })
  const [first] = found ?? []
  if (first !== undefined)
    await run.measure('numerics: a long chunk of a prompt', () =>
      withTiny(first, { on, read: async (backbone) => [await longChunkFigure(backbone, on)] }),
    )
  for (const name of found ?? [])
    await run.measure(`numerics: a tiny ${name}, f32 weights, against the CPU`, () =>
      withTiny(name, {
        on,
        read: async (backbone) => [await logitsFigure(backbone, { on, most: bounds[on.cacheType], run })],
      }),
    )
}

/** What `read` finds of a tiny model, which is imported for it alone, or why the device does not serve it. */
async function withTiny(
  name: string,
  { on, read }: { on: Measured; read: (backbone: Loadable) => Promise<readonly Row[]> },
): Promise<readonly Row[]> {
  const scratch = await mkdtemp(join(tmpdir(), 'quartet-gpu-'))
  using _ = removedInTheEnd(scratch)
  const backbone = await imported(name, join(scratch, name))
  const reason = unserved(backbone, on)
  return reason === undefined ? await read(backbone) : [{ name: `a tiny ${name}`, leftOut: reason }]
}

async function imported(name: string, folder: string): Promise<Loadable> {
  const source = await openSource(join(checkpoints, name))
  try {
    const manifest = await importSource(source, { slug: name, weights: 'f32', destination: folder })
    return { folder, manifest }
  } finally {
    await source.close()
  }
}

/** Why a device does not serve a backbone; undefined where it does. */
function unserved({ manifest: { config } }: Loadable, { device }: Measured): string | undefined {
  try {
    checkHeads(config, device)
    return undefined
  } catch (error) {
    if (error instanceof QuartetError && error.code === 'backbone_invalid') return error.message
    throw error
  }
}

/**
 * Largest difference between a device's logits and the CPU's: over a short text, with an adapter and without, over eight
 * tokens that two sequences decode in one batch, and over a step that reads another text beside them.
 */
export async function logitsFigure(
  backbone: Loadable,
  { most, on, run }: { on: Measured; most: number | undefined; run: Pick<GpuRun, 'step'> },
): Promise<Figure> {
  run.step('the CPU’s logits')
  const expected = await logitsOn(backbone, onCpu)
  run.step(`the logits on ${on.device}`)
  const found = await logitsOn(backbone, on)
  const value = expected.reduce((worst, x, i) => Math.max(worst, Math.abs(x - (found[i] ?? Number.NaN))), 0)
  return {
    name: `largest difference of a logit from the CPU’s, ${backbone.manifest.slug}`,
    value,
    unit: '',
    ...(most === undefined ? {} : { bound: { kind: 'at most', value: most } }),
  }
}

async function logitsOn(backbone: Loadable, on: Measured): Promise<readonly number[]> {
  const backend = await openOn(backbone, on)
  try {
    // So few that no device takes its attention for long chunks, which `longChunkFigure` looks at.
    const tokens = prompt(24, backend.limits.vocab)
    const adapter = backend.loadAdapter(
      randomAdapter(backbone.manifest, { seed: 1, metadata: { window: '16' } }),
    )
    const found: number[] = []
    const slots = [undefined, adapter].map((own) => {
      const slot = backend.allocate(tokens.length + (own?.rows ?? 0) + 9)
      if (slot === undefined) throw new Error('the backend has no room for a short text')
      return { slot, adapter: own }
    })
    for (const { adapter: own, slot } of slots)
      found.push(
        ...(await backend.score({ slot, tokens, ...(own && { adapter: own }) }, range(0, tokens.length))),
      )
    for (let step = 0; step < 8; step++)
      found.push(...(await backend.decode(slots.map(({ slot }) => ({ slot, token: tokens[step] ?? 0 })))))
    found.push(...(await mixedStep(backend, { adapter, running: slots.map(({ slot }) => slot), tokens })))
    return found
  } finally {
    await backend.close()
  }
}

/** A text read with an adapter beside decoded tokens, as the device runs such a step: the logits behind each. */
async function mixedStep(
  backend: OnnxBackend,
  {
    adapter,
    running,
    tokens,
  }: { adapter: LoadedAdapter; running: readonly CacheSlot[]; tokens: readonly number[] },
): Promise<readonly number[]> {
  const slot = backend.allocate(tokens.length + adapter.rows)
  if (slot === undefined) throw new Error('the backend has no room for a short text')
  const parts: readonly StepPart[] = [
    { kind: 'chunk', slot, tokens, adapter },
    ...running.map((other): StepPart => ({ kind: 'decode', slot: other, token: 7 })),
  ]
  const found: number[] = []
  for (const call of backend.callsOf(parts)) found.push(...(await backend.run(call)))
  slot.release()
  return found
}

/** How far logits lie apart when the device reads a text at once and in pieces, against their size. */
async function longChunkFigure(backbone: Loadable, on: Measured): Promise<Figure> {
  const backend = await openOn(backbone, on)
  try {
    return {
      name: '48 tokens at once against 16 at a time, difference of logits',
      value: await longChunkDifference(backend),
      unit: 'of their size',
      bound: { kind: 'at most', value: mostLongChunkDifference },
    }
  } finally {
    await backend.close()
  }
}
