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

interface Sequences {
  readonly batch: number
  /** Tokens of each sequence's prompt. */
  readonly context: number
  readonly adapters: readonly LoadedAdapter[]
}

/** Median milliseconds of a decode step. */
export async function decodeStep(backend: Backend, of: Sequences): Promise<number> {
  const rows = await prefilledRows(backend, of)
  const times: number[] = []
  for (let step = 0; step < decodeSteps; step++) times.push(await timed(() => backend.decode(rows)))
  for (const { slot } of rows) slot.release()
  return median(times)
}

/** How often sequences are made anew: where they lie in memory counts too. */
const rounds = 4

/**
 * A decode step with adapters against one without, in turn step by step, so that a drift of the machine within a second changes
 * both: median milliseconds without, and the median ratio of neighbours.
 */
export async function decodeStepsInTurn(
  backend: Backend,
  of: Sequences,
): Promise<{ untuned: number; ratio: number }> {
  const untuned: number[] = []
  const ratios: number[] = []
  for (let round = 0; round < rounds; round++) {
    const tuned = await prefilledRows(backend, of)
    const bare = await prefilledRows(backend, { ...of, adapters: [] })
    for (let step = 0; step < decodeSteps; step++) {
      // Neither always comes first.
      const before = step % 2 === 0 ? undefined : await timed(() => backend.decode(bare))
      const withAdapters = await timed(() => backend.decode(tuned))
      const without = before ?? (await timed(() => backend.decode(bare)))
      untuned.push(without)
      ratios.push(withAdapters / without)
    }
    for (const { slot } of [...tuned, ...bare]) slot.release()
  }
  return { untuned: median(untuned), ratio: median(ratios) }
}

/** Sequences that each have a prompt, as rows of a decode step. */
async function prefilledRows(
  backend: Backend,
  { adapters, batch, context }: Sequences,
): Promise<{ slot: CacheSlot; token: number }[]> {
  const { vocab } = backend.limits
  const rows: { slot: CacheSlot; token: number }[] = []
  for (let at = 0; at < batch; at++) {
    const adapter = adapters[at % Math.max(1, adapters.length)]
    const slot = await prefill(backend, { tokens: prompt(context, vocab), adapter })
    rows.push({ slot, token: (500 + at) % vocab })
  }
  return rows
}
