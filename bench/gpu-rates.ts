import { setImmediate } from 'node:timers/promises'
import type { LoadedAdapter, StepPart } from '../model/runtime/backend.ts'
import type { OnnxBackend } from '../model/runtime/onnx-backend.ts'
import { range } from '../model/runtime/row-places.ts'
import type { BackboneManifest } from '../shared/backbone.ts'
import { adaptersTakingPart, decodeInRounds, roundsFor } from './decode-rounds.ts'
import type { Expected } from './gpu-clock.ts'
import type { GpuRun } from './gpu-run.ts'
import type { Sizes } from './gpu-sizes.ts'
import { randomAdapter } from './random-adapter.ts'
import { prefill, prompt } from './sequences.ts'
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

const decodeName = (batch: number, adapters: number) =>
  `decode, batch ${batch}, ${adapters} ${adapters === 1 ? 'adapter' : 'adapters'}`

/** A measurement of decoding costs what its prompts cost. */
const decodeExpected = (batch: number, adapters: number): Expected => ({
  like: [`decode ${batch}`, 'decode'],
  size: batch * roundsFor({ adapters, batch }),
})

/**
 * Adds the tokens per second of decoding for each number of adapters and batch; `least`: of each against none. No more
 * adapters than those are loaded at the time, and for none there is none yet; in the end none takes part once more.
 */
export async function measureDecode(
  run: GpuRun,
  { backend, least, manifest, sizes }: Rated & { readonly least: number | undefined },
): Promise<void> {
  const loaded: LoadedAdapter[] = []
  const plain = new Map<number, number>()
  const measure = (
    name: string,
    { adapters, batch }: { adapters: readonly LoadedAdapter[]; batch: number },
  ) =>
    run.part(
      name,
      () => decodeInRounds(backend, { batch, context, adapters, steps: sizes.steps }),
      decodeExpected(batch, adapters.length),
    )
  for (const count of sizes.adapterCounts) {
    await loadAdapters(run, { backend, count, loaded, manifest })
    for (const batch of sizes.batches) {
      const name = decodeName(batch, count)
      if (loaded.length < count) {
        run.leaveOut(name, `${loaded.length} adapters are loaded`)
        continue
      }
      const step = await measure(name, { adapters: loaded, batch })
      if (step === undefined) continue
      const none = plain.get(batch)
      const took = adaptersTakingPart({ adapters: count, batch })
      const note = `${took} of ${count} took part, in ${roundsFor({ adapters: count, batch })} rounds`
      run.add({ name, value: (1000 * batch) / step, unit: 'tokens/s', ...(count > 0 && { note }) })
      if (count === 0) plain.set(batch, step)
      else if (none !== undefined)
        run.add({
          name: `${name} / none`,
          value: none / step,
          unit: '×',
          ...(least !== undefined && { bound: { kind: 'at least', value: least } }),
        })
    }
  }
  for (const [batch, none] of plain) {
    const name = `decode, batch ${batch}, none of ${loaded.length} loaded / none loaded`
    const step = await measure(name, { adapters: [], batch })
    if (step !== undefined) run.add({ name, value: none / step, unit: '×' })
  }
}

/** Files that adapters are loaded from: to make one takes longer than to load it, and each has memory of its own once loaded. */
const mostFiles = 16

async function loadAdapters(
  run: GpuRun,
  { backend, count, loaded, manifest }: Omit<Rated, 'sizes'> & { count: number; loaded: LoadedAdapter[] },
): Promise<void> {
  const more = count - loaded.length
  if (more <= 0) return
  await run.part(
    `loading adapters: ${more} more, ${count} in all`,
    async () => {
      const files = range(0, Math.min(more, mostFiles)).map((seed) =>
        randomAdapter(manifest, { seed: loaded.length + seed, metadata: { window: '64' } }),
      )
      while (loaded.length < count) {
        for (const file of files.slice(0, count - loaded.length)) loaded.push(backend.loadAdapter(file))
        // A signal and the limit of time have their turn.
        await setImmediate()
      }
    },
    { like: ['adapters'], size: more },
  )
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
    const asked = { batch, context, adapters: [], steps: sizes.steps }
    const rate = async () => (1000 * batch) / (await decodeInRounds(backend, asked))
    await run.measure(
      name,
      async () => [{ name, value: captured.value / (await rate()), unit: '×' }],
      decodeExpected(batch, 0),
    )
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
    const time = () =>
      timed(async () => (await prefill(backend, { tokens: prompt(length, vocab) })).release())
    await run.measure(name, async () => [{ name, value: (await time()) / length, unit: 'ms/token' }], {
      like: ['prefill'],
      size: length,
    })
  }
}
