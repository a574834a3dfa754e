import type { Backend, CacheSlot } from '../model/runtime/backend.ts'
import { prompt } from './sequences.ts'
import { median, timed } from './statistics.ts'

/** The work that an engine's rates are measured at. */
export interface RateWork {
  /** Tokens of a prompt, and of the context that decoding begins with. */
  readonly context: number
  /** Tokens that each sequence of a batch decodes. */
  readonly newTokens: number
  /** Sequences that decode together. */
  readonly batches: readonly number[]
}

/** Tokens per second of an engine. */
export interface EngineRates {
  readonly prefill: number
  /** Over all sequences, one for each of the work's batches. */
  readonly decode: readonly number[]
}

/**
 * Measures a backend as `llama-batched-bench` measures llama.cpp: for each batch a prompt is read, with which all its sequences
 * begin.
 */
export async function backendRates(backend: Backend, { batches, ...sizes }: RateWork): Promise<EngineRates> {
  const { context } = sizes
  const prefills: number[] = []
  const decode: number[] = []
  for (const batch of batches) {
    const read = await readPrompt(backend, sizes)
    prefills.push(read.tokensPerSecond)
    const slots = [read.slot]
    const kept = await backend.keepRows(read.slot, { start: 0, end: context, tokens: context })
    while (slots.length < batch) {
      const slot = allocate(backend, sizes)
      await backend.putRows(slot, [kept])
      slots.push(slot)
    }
    kept.release()
    decode.push(await decodeRate(backend, { slots, ...sizes }))
    for (const slot of slots) slot.release()
  }
  return { prefill: median(prefills), decode }
}

type Sizes = Omit<RateWork, 'batches'>

async function readPrompt(
  backend: Backend,
  sizes: Sizes,
): Promise<{ slot: CacheSlot; tokensPerSecond: number }> {
  const slot = allocate(backend, sizes)
  const tokens = prompt(sizes.context, backend.limits.vocab)
  const ms = await timed(() => backend.prefill({ slot, tokens }))
  return { slot, tokensPerSecond: (1000 * tokens.length) / ms }
}

async function decodeRate(
  backend: Backend,
  { newTokens, slots }: Sizes & { slots: readonly CacheSlot[] },
): Promise<number> {
  const rows = slots.map((slot, at) => ({ slot, token: (500 + at) % backend.limits.vocab }))
  const ms = await timed(async () => {
    for (let step = 0; step < newTokens; step++) await backend.decode(rows)
  })
  return (1000 * newTokens * slots.length) / ms
}

function allocate(backend: Backend, { context, newTokens }: Sizes): CacheSlot {
  const slot = backend.allocate(context + newTokens)
  if (slot === undefined) throw new Error('the backend has no room for the benchmark; raise its limits')
  return slot
}
