import type { StepPart } from '../model/runtime/backend.ts'
import type { OnnxBackend } from '../model/runtime/onnx-backend.ts'
import { range } from '../model/runtime/row-places.ts'
import type { BackboneManifest } from '../shared/backbone.ts'
import type { GpuRun } from './gpu-run.ts'
import type { Sizes } from './gpu-sizes.ts'
import { randomAdapter } from './random-adapter.ts'
import { decodeStep, prefill, prompt } from './sequences.ts'
import { median, timed } from './statistics.ts'

/** Tokens of each sequence's prompt before it decodes. */
const context = 128
const stepRounds = 7

/** A loaded backbone whose rates are measured. */
interface Rated {
  readonly backend: OnnxBackend
  readonly manifest: BackboneManifest
  readonly sizes: Sizes
}

const decodeName = (batch: number, adapters: number) => `decode, batch ${batch}, ${adapters} adapters`

/** Adds the tokens per second of decoding for each batch and number of adapters; `least`: of each against none. */
export async function measureDecode(
  run: GpuRun,
  { backend, least, manifest, sizes }: Rated & { readonly least: number | undefined },
): Promise<void> {
  const count = Math.max(...sizes.adapterCounts)
  const loaded =
    (await run.part(`loading ${count} adapters`, async () =>
      range(0, count).map((seed) =>
        backend.loadAdapter(randomAdapter(manifest, { seed, metadata: { window: '64' } })),
      ),
    )) ?? []
  for (const batch of sizes.batches) {
    let plain: number | undefined
    for (const adapters of sizes.adapterCounts) {
      const name = decodeName(batch, adapters)
      if (adapters > loaded.length) {
        run.leaveOut(name, 'the adapters were not loaded')
        continue
      }
      const step = await run.part(name, () =>
        decodeStep(backend, { batch, context, adapters: loaded.slice(0, adapters) }),
      )
      if (step === undefined) continue
      run.add({ name, value: (1000 * batch) / step, unit: 'tokens/s' })
      if (adapters === 0) plain = step
      else if (plain !== undefined)
        run.add({
          name: `${name} / none`,
          value: plain / step,
          unit: '×',
          ...(least === undefined ? {} : { bound: { kind: 'at least', value: least } }),
        })
    }
  }
}

/** Adds the rates of captured decoding runs against those of a backend that launches each kernel anew. */
export async function measureCaptured(
  run: GpuRun,
  { backend, sizes }: Pick<Rated, 'backend' | 'sizes'>,
): Promise<void> {
  for (const batch of sizes.batches) {
    const captured = run.figures.find(({ name }) => name === decodeName(batch, 0))
    if (captured === undefined) continue
    const name = `decode, batch ${batch}, captured / not`
    await run.measure(name, async () => {
      const step = await decodeStep(backend, { batch, context, adapters: [] })
      return [{ name, value: captured.value / ((1000 * batch) / step), unit: '×' }]
    })
  }
}

/** A step of two prompts' chunks and eight decoded tokens as the backend runs it, against each part in a call of its own. */
export async function measureStep(run: GpuRun, { backend }: Pick<Rated, 'backend'>): Promise<void> {
  const name = 'a step of two chunks and eight decoded tokens / in calls of their own'
  await run.measure(name, async () => [{ name, value: await stepRatio(backend), unit: '×' }])
}

async function stepRatio(backend: OnnxBackend): Promise<number> {
  const { vocab } = backend.limits
  using running = new DisposableStack()
  const decoded: StepPart[] = []
  for (let at = 0; at < 8; at++) {
    const slot = await prefill(backend, { tokens: prompt(context, vocab) })
    running.defer(() => slot.release())
    decoded.push({ kind: 'decode', slot, token: 5 })
  }
  const stepIn = async (callsOf: (parts: readonly StepPart[]) => readonly (readonly StepPart[])[]) => {
    using chunkSlots = new DisposableStack()
    const chunks = [0, 1].map((): StepPart => {
      const slot = backend.allocate(context)
      if (slot === undefined) throw new Error('the backend has no room for the benchmark; raise its limits')
      chunkSlots.defer(() => slot.release())
      return { kind: 'chunk', slot, tokens: prompt(context, vocab) }
    })
    return await timed(async () => {
      for (const call of callsOf([...chunks, ...decoded])) await backend.run(call)
    })
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
  return median(ratios)
}

/** Adds the time of a prompt's token for each length. */
export async function measurePrefill(run: GpuRun, { backend, manifest, sizes }: Rated): Promise<void> {
  const { contextLength, vocab } = backend.limits
  const longest = Math.min(contextLength, manifest.config.contextLength)
  for (const length of sizes.prompts.filter((tokens) => tokens + 64 <= longest)) {
    const name = `prefill of ${length} tokens`
    await run.measure(name, async () => {
      const tokens = prompt(length, vocab)
      const time = await timed(async () => (await prefill(backend, { tokens })).release())
      return [{ name, value: time / length, unit: 'ms/token' }]
    })
  }
}
