import type { CacheSlot, StepPart } from '../model/runtime/backend.ts'
import type { OnnxBackend } from '../model/runtime/onnx-backend.ts'
import { range } from '../model/runtime/row-places.ts'
import type { BackboneManifest } from '../shared/backbone.ts'
import type { Clock } from './gpu-clock.ts'
import type { Sizes } from './gpu-sizes.ts'
import { randomAdapter } from './random-adapter.ts'
import type { Figure } from './report.ts'
import { decodeStep, prefill, prompt } from './sequences.ts'
import { median, timed } from './statistics.ts'

/** Tokens of each sequence's prompt before it decodes. */
const context = 128
const stepRounds = 7

interface Rated {
  readonly manifest: BackboneManifest
  readonly sizes: Sizes
  readonly clock: Clock
}

/** Tokens per second of decoding for each batch and number of adapters; `least`: of each against none. */
export async function decodeFigures(
  backend: OnnxBackend,
  { clock, least, manifest, sizes }: Rated & { readonly least: number | undefined },
): Promise<Figure[]> {
  const count = Math.max(...sizes.adapterCounts)
  clock.say(`loading ${count} adapters`)
  const loaded = range(0, count).map((seed) =>
    backend.loadAdapter(randomAdapter(manifest, { seed, metadata: { window: '64' } })),
  )
  const figures: Figure[] = []
  for (const batch of sizes.batches) {
    let plain: number | undefined
    for (const adapters of sizes.adapterCounts) {
      const name = `decode, batch ${batch}, ${adapters} adapters`
      if (!clock.begins(name)) continue
      const step = await decodeStep(backend, { batch, context, adapters: loaded.slice(0, adapters) })
      figures.push({ name, value: (1000 * batch) / step, unit: 'tokens/s' })
      if (adapters === 0) plain = step
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

/** The rates of captured decoding runs against those of a backend that launches each kernel anew. */
export async function capturedFigures(
  backend: OnnxBackend,
  { clock, figures, sizes }: Pick<Rated, 'clock' | 'sizes'> & { readonly figures: readonly Figure[] },
): Promise<Figure[]> {
  const found: Figure[] = []
  for (const batch of sizes.batches) {
    const captured = figures.find(({ name }) => name === `decode, batch ${batch}, 0 adapters`)
    if (captured === undefined || !clock.begins(`decode, batch ${batch}, not captured`)) continue
    const step = await decodeStep(backend, { batch, context, adapters: [] })
    found.push({
      name: `decode, batch ${batch}, captured / not`,
      value: captured.value / ((1000 * batch) / step),
      unit: '×',
    })
  }
  return found
}

/** A step of two prompts' chunks and eight decoded tokens as the backend runs it, against each part in a call of its own. */
export async function stepFigure(backend: OnnxBackend, { clock }: Pick<Rated, 'clock'>): Promise<Figure[]> {
  const name = 'a step of two chunks and eight decoded tokens / in calls of their own'
  if (!clock.begins(name)) return []
  const { vocab } = backend.limits
  const running: CacheSlot[] = []
  for (let at = 0; at < 8; at++) running.push(await prefill(backend, { tokens: prompt(context, vocab) }))
  const decoded = running.map((slot): StepPart => ({ kind: 'decode', slot, token: 5 }))
  const stepIn = async (callsOf: (parts: readonly StepPart[]) => readonly (readonly StepPart[])[]) => {
    const slots = [0, 1].map(() => backend.allocate(context))
    const chunks = slots.flatMap((slot): StepPart[] =>
      slot === undefined ? [] : [{ kind: 'chunk', slot, tokens: prompt(context, vocab) }],
    )
    const time = await timed(async () => {
      for (const call of callsOf([...chunks, ...decoded])) await backend.run(call)
    })
    for (const slot of slots) slot?.release()
    return time
  }
  const apart = (parts: readonly StepPart[]) => [
    ...parts.filter(({ kind }) => kind === 'chunk').map((chunk) => [chunk]),
    parts.filter(({ kind }) => kind === 'decode'),
  ]
  const ratios: number[] = []
  for (let round = 0; round < stepRounds; round++) {
    const [own, single] = [await stepIn((parts) => backend.callsOf(parts)), await stepIn(apart)]
    ratios.push(own / single)
  }
  for (const slot of running) slot.release()
  return [{ name, value: median(ratios), unit: '×' }]
}

export async function prefillFigures(
  backend: OnnxBackend,
  { clock, manifest, sizes }: Rated,
): Promise<Figure[]> {
  const figures: Figure[] = []
  const { contextLength, vocab } = backend.limits
  const longest = Math.min(contextLength, manifest.config.contextLength)
  for (const length of sizes.prompts.filter((tokens) => tokens + 64 <= longest)) {
    const name = `prefill of ${length} tokens`
    if (!clock.begins(name)) continue
    const tokens = prompt(length, vocab)
    const time = await timed(async () => (await prefill(backend, { tokens })).release())
    figures.push({ name, value: time / length, unit: 'ms/token' })
  }
  return figures
}

/** Bytes that cross in a decode step of four, beside its logits: nothing of a cache that lies on the device. */
export async function crossingFigure(
  backend: OnnxBackend,
  { most }: { most: number | undefined },
): Promise<Figure> {
  const slots = []
  for (let at = 0; at < 4; at++)
    slots.push(await prefill(backend, { tokens: prompt(64, backend.limits.vocab) }))
  const before = backend.hostBytes
  await backend.decode(slots.map((slot) => ({ slot, token: 5 })))
  const value = backend.hostBytes - before - 4 * 4 * backend.limits.vocab
  for (const slot of slots) slot.release()
  return {
    name: 'bytes that cross in a decode step of four, beside logits',
    value,
    unit: 'bytes',
    ...(most === undefined ? {} : { bound: { kind: 'at most', value: most } }),
  }
}
