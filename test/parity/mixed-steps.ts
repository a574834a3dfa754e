import type { LoadedAdapter, StepPart } from '../../model/runtime/backend.ts'
import type { OnnxBackend } from '../../model/runtime/onnx-backend.ts'
import { range } from '../../model/runtime/row-places.ts'
import type { BackboneManifest } from '../../shared/backbone.ts'
import { adapterVariants } from './generation.ts'
import { randomAdapter } from './random-adapter.ts'

/** Tokens of each prompt that its first chunk has. */
const firstTokens = 21

/**
 * Requests of every kind of adapter, and a stack, that come one after the other, have a prompt of two chunks and then
 * decode: for each step the logits of each, and how many calls it took. Every token is given, so that each run of this asks
 * the same.
 */
export async function mixedSteps(
  backend: OnnxBackend,
  manifest: BackboneManifest,
): Promise<readonly { logits: Float32Array[]; calls: number }[]> {
  const adapters: (LoadedAdapter | undefined)[] = adapterVariants.map(
    (metadata, seed) => metadata && backend.loadAdapter(randomAdapter(manifest, { seed, ...metadata })),
  )
  const late = (seed: number) =>
    backend.loadAdapter(
      randomAdapter(manifest, { kind: 'iapt', placement: 'late', tail: 4, seed, window: 5 }),
    )
  adapters.push(backend.stack([late(20), late(21)]))
  const requests = adapters.map((adapter, at) => {
    const tokens = range(0, 50 + 3 * at).map((n) => (n * 31 + at) % 256)
    const slot = backend.allocate(tokens.length + 40 + (adapter?.rows ?? 0))
    if (slot === undefined) throw new Error('no room')
    return { slot, tokens, adapter }
  })
  const { vocab } = backend.limits
  const steps = []
  for (let step = 0; step < requests.length + 3; step++) {
    const parts = requests
      .slice(0, step + 1)
      .map(({ adapter, slot, tokens }, at): StepPart & { at: number } => {
        const age = step - at
        if (age > 1) return { kind: 'decode', slot, token: (step * 7 + at) % 256, at }
        const chunk = age === 0 ? tokens.slice(0, firstTokens) : tokens.slice(firstTokens)
        // The second chunk is the newest turn, and the one with a tail.
        const rowsAt = adapter?.placement === 'turn' || adapter?.tail !== undefined ? 1 : 0
        const makesRows = adapter !== undefined && age === rowsAt
        return { kind: 'chunk', slot, tokens: chunk, ...(makesRows && { adapter }), at }
      })
    const calls = backend.callsOf(parts)
    const logits: Float32Array[] = []
    for (const call of calls) {
      const found = Float32Array.from(await backend.run(call))
      for (const [row, { at }] of call.entries()) logits[at] = found.slice(row * vocab, (row + 1) * vocab)
    }
    steps.push({ logits, calls: calls.length })
  }
  for (const { slot } of requests) slot.release()
  return steps
}
