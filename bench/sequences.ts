import type { Backend, CacheSlot, LoadedAdapter } from '../model/runtime/backend.ts'
import { median, timed } from './statistics.ts'

/** Steps that a decode measurement takes the median of. */
const decodeSteps = 24

/** Token ids below the given vocabulary size. */
export function prompt(length: number, vocab = 30_000): number[] {
  const first = Math.min(1000, vocab >> 1)
  return Array.from({ length }, (_, at) => first + ((at * 7919) % Math.min(20_000, vocab - first)))
}

/** A slot that holds this prompt and has room to decode. */
export async function prefill(
  backend: Backend,
  { tokens, adapter }: { tokens: number[]; adapter?: LoadedAdapter | undefined },
): Promise<CacheSlot> {
  const slot = backend.allocate(tokens.length + (adapter?.rows ?? 0) + decodeSteps + 8)
  if (slot === undefined) throw new Error('the backend has no room for the benchmark; raise its limits')
  const size = backend.limits.chunkTokens
  for (let from = 0; from < tokens.length; from += size)
    await backend.prefill({
      slot,
      tokens: tokens.slice(from, from + size),
      ...(adapter && from === 0 ? { adapter } : {}),
    })
  return slot
}

/** Median milliseconds of a decode step over sequences that each have a prompt of `context` tokens. */
export async function decodeStep(
  backend: Backend,
  { batch, context, adapters }: { batch: number; context: number; adapters: readonly LoadedAdapter[] },
): Promise<number> {
  const { vocab } = backend.limits
  const slots: CacheSlot[] = []
  for (let at = 0; at < batch; at++) {
    const adapter = adapters[at % Math.max(1, adapters.length)]
    slots.push(await prefill(backend, { tokens: prompt(context, vocab), adapter }))
  }
  const rows = slots.map((slot, at) => ({ slot, token: (500 + at) % vocab }))
  const times: number[] = []
  for (let step = 0; step < decodeSteps; step++) times.push(await timed(() => backend.decode(rows)))
  for (const slot of slots) slot.release()
  return median(times)
}
