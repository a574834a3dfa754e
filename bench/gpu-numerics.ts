import { mkdtemp, readdir } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { importSource } from '../model/import/import.ts'
import { openSource } from '../model/import/source.ts'
import type { CacheSlot, LoadedAdapter, StepPart } from '../model/runtime/backend.ts'
import { checkHeads } from '../model/runtime/cache-layout.ts'
import type { CacheType } from '../model/runtime/cache-type.ts'
import { longChunkDifference, mostLongChunkDifference } from '../model/runtime/long-chunk-check.ts'
import type { OnnxBackend } from '../model/runtime/onnx-backend.ts'
import { range } from '../model/runtime/row-places.ts'
import { QuartetError } from '../shared/errors.ts'
import { type Loadable, type Measured, onCpu, openOn, servedAs } from './gpu-backbone.ts'
import type { GpuRun } from './gpu-run.ts'
import { removedInTheEnd } from './gpu-scratch.ts'
import type { Sizes } from './gpu-sizes.ts'
import { differenceOfSize, Logits, largestDifference } from './logit-differences.ts'
import { randomAdapter } from './random-adapter.ts'
import type { Figure, Row } from './report.ts'
import { prompt } from './sequences.ts'

/** Random checkpoints of a few thousand weights, one for each architecture. */
const checkpoints = join(import.meta.dirname, '../test/fixtures/backbones')

/** How far a device's logits may lie from the CPU's, by the type of its cache. */
export interface LogitBounds {
  /** A single logit differs by at most this. */
  readonly largest: Readonly<Record<CacheType, number>>
  /** All logits together differ by at most this, against their size. */
  readonly ofSize?: Readonly<Record<CacheType, number>>
}

/** Small random models with f32 weights are held to these. On the CPU a cache in 16 bits moves a logit of theirs by 0.02. */
export const tinyBounds: LogitBounds = { largest: { f32: 1e-3, f16: 0.05, int8: 0.5 } }

/**
 * SmolLM2 in 8 bits is held to these. The CPU rounds activations for its products with 8-bit weights, which makes much of a small difference,
 * and other devices do not round them. So its own forms tell how far results that are right lie apart. Over the same runs,
 * those of 8-bit weights with a cache of f32 lay 0.0165 of their size and 1.3 at most from those with a cache of f16; 0.0220 and
 * 2.0 from those of f32 weights, with a cache of f32 and of f16 alike; 0.0248 and 3.2 from those with a cache of int8. These
 * are one and a half times that, and wrong attention moves logits by more (`mostLongChunkDifference`).
 */
export const smolLmBounds: LogitBounds = {
  largest: { f32: 3, f16: 3, int8: 4.8 },
  ofSize: { f32: 0.033, f16: 0.033, int8: 0.037 },
}

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
      withTiny(first, { on, read: async (backbone, own) => [await longChunkFigure(backbone, own)] }),
    )
  for (const name of found ?? [])
    await run.measure(
      `numerics: a tiny ${name}, f32 weights, against the CPU`,
      () =>
        withTiny(name, {
          on,
          read: async (backbone, own) => {
            const figures = await logitsFigures(backbone, { on: own, bounds: tinyBounds, run })
            const note = `with a cache of ${own.cacheType}: this backbone has none of ${on.cacheType} on ${on.device}`
            return own.cacheType === on.cacheType ? figures : figures.map((figure) => ({ ...figure, note }))
          },
        }),
      { like: ['a tiny model'] },
    )
}

/** Gives the rows that `read` finds of a tiny model, which is imported for it alone, or says why the device does not serve it. */
async function withTiny(
  name: string,
  { on, read }: { on: Measured; read: (backbone: Loadable, own: Measured) => Promise<readonly Row[]> },
): Promise<readonly Row[]> {
  const scratch = await mkdtemp(join(tmpdir(), 'quartet-gpu-'))
  using _ = removedInTheEnd(scratch)
  const backbone = await imported(name, join(scratch, name))
  const reason = unserved(backbone, on)
  return reason === undefined
    ? await read(backbone, servedAs(backbone, on))
    : [{ name: `a tiny ${name}`, leftOut: reason }]
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
 * Differences between a device's logits and the CPU's: over a short text, with an adapter and without, over eight tokens
 * that two sequences decode in one batch, and over a step that reads another text beside them.
 */
export async function logitsFigures(
  backbone: Loadable,
  { bounds, on, run }: { bounds: LogitBounds; on: Measured; run: Pick<GpuRun, 'step'> },
): Promise<readonly Figure[]> {
  run.step('the CPU’s logits')
  const expected = await logitsOn(backbone, onCpu)
  run.step(`the logits on ${on.device}`)
  const found = await logitsOn(backbone, on)
  const { slug } = backbone.manifest
  const { cacheType } = on
  const largest: Figure = {
    name: `largest difference of a logit from the CPU’s, ${slug}`,
    value: largestDifference(expected, found),
    unit: '',
    bound: { kind: 'at most', value: bounds.largest[cacheType] },
  }
  if (bounds.ofSize === undefined) return [largest]
  return [
    largest,
    {
      name: `difference of the logits from the CPU’s, ${slug}`,
      value: differenceOfSize(expected, found),
      unit: 'of their size',
      bound: { kind: 'at most', value: bounds.ofSize[cacheType] },
    },
  ]
}

async function logitsOn(backbone: Loadable, on: Measured): Promise<Float32Array> {
  const backend = await openOn(backbone, on)
  try {
    // So few that no device takes its attention for long chunks, which `longChunkFigure` looks at.
    const tokens = prompt(24, backend.limits.vocab)
    const adapter = backend.loadAdapter(
      randomAdapter(backbone.manifest, { seed: 1, metadata: { window: '16' } }),
    )
    const found = new Logits()
    const slots = [undefined, adapter].map((own) => {
      const slot = backend.allocate(tokens.length + (own?.rows ?? 0) + 9)
      if (slot === undefined) throw new Error('the backend has no room for a short text')
      return { slot, adapter: own }
    })
    for (const { adapter: own, slot } of slots)
      found.add(await backend.score({ slot, tokens, ...(own && { adapter: own }) }, range(0, tokens.length)))
    for (let step = 0; step < 8; step++)
      found.add(await backend.decode(slots.map(({ slot }) => ({ slot, token: tokens[step] ?? 0 }))))
    found.add(await mixedStep(backend, { adapter, running: slots.map(({ slot }) => slot), tokens }))
    return found.all()
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
): Promise<Float32Array> {
  const slot = backend.allocate(tokens.length + adapter.rows)
  if (slot === undefined) throw new Error('the backend has no room for a short text')
  const parts: readonly StepPart[] = [
    { kind: 'chunk', slot, tokens, adapter },
    ...running.map((other): StepPart => ({ kind: 'decode', slot: other, token: 7 })),
  ]
  const found = new Logits()
  for (const call of backend.callsOf(parts)) found.add(await backend.run(call))
  slot.release()
  return found.all()
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
