import { prepareInt8Cache } from '../model/calibration/int8-cache.ts'
import { perplexityTokens } from '../model/import/quantisation-check.ts'
import type { Backend, CacheSlot } from '../model/runtime/backend.ts'
import { cacheRowBytes } from '../model/runtime/cache-budget.ts'
import type { CacheType } from '../model/runtime/cache-type.ts'
import { createBackend } from '../model/runtime/create-backend.ts'
import { compareOnText } from '../model/runtime/perplexity.ts'
import { benchBackbone, weightFormat } from './backend.ts'
import { type Figure, report } from './report.ts'
import { prefill, prompt } from './sequences.ts'
import { compare, type MeasuredRatio, timed } from './statistics.ts'

const batch = 8
const contexts = [256, 2_000] as const
const rounds = 20

/** Sequences that each hold the same prompt. */
async function filled(backend: Backend, { context, count }: { context: number; count: number }) {
  const first = await prefill(backend, { tokens: prompt(context, backend.limits.vocab) })
  const kept = await backend.keepRows(first, { start: 0, end: context, tokens: context })
  const slots: CacheSlot[] = [first]
  while (slots.length < count) {
    const slot = backend.allocate(context + 2 * rounds)
    if (slot === undefined) throw new Error('the backend has no room for the benchmark')
    await backend.putRows(slot, [kept])
    slots.push(slot)
  }
  return slots
}

async function compareDecode(
  { f32, int8 }: Readonly<Record<'f32' | 'int8', Backend>>,
  of: { context: number; count: number },
): Promise<MeasuredRatio> {
  const side = async (backend: Backend) => {
    const slots = await filled(backend, of)
    const rows = slots.map((slot, at) => ({ slot, token: 500 + at }))
    return { slots, step: () => timed(() => backend.decode(rows)) }
  }
  const [a, b] = [await side(int8), await side(f32)]
  const compared = await compare(rounds, { a: a.step, b: b.step })
  for (const slot of [...a.slots, ...b.slots]) slot.release()
  return compared
}

/** `npm run bench -- cache`: an 8-bit KV cache against one in f32, on the text that `backbone check` reads. */
export async function benchCache({ weights }: { readonly weights?: string | undefined }): Promise<boolean> {
  const backbone = await benchBackbone(weightFormat(weights))
  const { folder, manifest } = backbone
  await prepareInt8Cache(backbone)
  const { divergence, perplexity } = await compareOnText(
    { exact: { folder }, stored: { folder, cacheType: 'int8' } },
    await perplexityTokens(backbone),
  )
  const limits = { contextLength: 4096, chunkTokens: 256, maxBatch: batch, cacheRows: 32_768 }
  const open = (cacheType: CacheType) => createBackend({ folder, manifest, device: 'cpu', limits, cacheType })
  const backends = { f32: await open('f32'), int8: await open('int8') }
  const figures: Figure[] = []
  for (const context of contexts)
    for (const count of [1, batch]) {
      const { a, b, ratio } = await compareDecode(backends, { context, count })
      figures.push(
        { name: `decode step, batch ${count} over ${context} tokens, f32`, value: b, unit: 'ms' },
        { name: '… int8', value: a, unit: 'ms' },
        { name: '… int8 / f32', value: ratio, unit: '×' },
      )
    }
  await backends.f32.close()
  await backends.int8.close()
  return report(`cache: ${manifest.slug}, ${manifest.weights} weights, int8 against f32`, [
    { name: 'perplexity, f32 cache', value: perplexity.exact, unit: '' },
    { name: 'perplexity, int8 cache', value: perplexity.stored, unit: '' },
    {
      name: 'perplexity, int8 / f32',
      value: perplexity.stored / perplexity.exact,
      unit: '×',
      bound: { kind: 'at most', value: 1.005 },
    },
    { name: 'KL(f32 ‖ int8) of a token', value: divergence, unit: 'nats' },
    {
      name: 'memory of a token, int8 / f32',
      value: cacheRowBytes(manifest.config, 'int8') / cacheRowBytes(manifest.config, 'f32'),
      unit: '×',
      bound: { kind: 'at most', value: 0.25 },
    },
    ...figures,
  ])
}
