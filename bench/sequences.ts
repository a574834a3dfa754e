import type { Backend, CacheSlot, DecodeRow, LoadedAdapter } from '../model/runtime/backend.ts'
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
  using failing = new DisposableStack()
  failing.defer(() => slot.release())
  const size = backend.limits.chunkTokens
  for (let from = 0; from < tokens.length; from += size)
    await backend.prefill({
      slot,
      tokens: tokens.slice(from, from + size),
      ...(adapter && from === 0 ? { adapter } : {}),
    })
  failing.move()
  return slot
}

export interface Sequences {
  readonly batch: number
  /** Tokens of each sequence's prompt. */
  readonly context: number
  readonly adapters: readonly LoadedAdapter[]
}

/** Median milliseconds of a decode step. */
export async function decodeStep(backend: Backend, of: Sequences): Promise<number> {
  using rows = await prefilledRows(backend, of)
  const times: number[] = []
  for (let step = 0; step < decodeSteps; step++) times.push(await timed(() => backend.decode(rows.batch)))
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
    using tuned = await prefilledRows(backend, of)
    using bare = await prefilledRows(backend, { ...of, adapters: [] })
    for (let step = 0; step < decodeSteps; step++) {
      // Neither always comes first.
      const before = step % 2 === 0 ? undefined : await timed(() => backend.decode(bare.batch))
      const withAdapters = await timed(() => backend.decode(tuned.batch))
      const without = before ?? (await timed(() => backend.decode(bare.batch)))
      untuned.push(without)
      ratios.push(withAdapters / without)
    }
  }
  return { untuned: median(untuned), ratio: median(ratios) }
}

/** Rows of a decode step, whose slots are released with it. */
interface PrefilledRows extends Disposable {
  readonly batch: readonly DecodeRow[]
}

/** Sequences that each have a prompt. Where one finds no room, those in front of it are released. */
export async function prefilledRows(
  backend: Backend,
  { adapters, batch: count, context }: Sequences,
): Promise<PrefilledRows> {
  const { vocab } = backend.limits
  using failing = new DisposableStack()
  const batch: DecodeRow[] = []
  for (let at = 0; at < count; at++) {
    const adapter = adapters[at % Math.max(1, adapters.length)]
    const slot = await prefill(backend, { tokens: prompt(context, vocab), adapter })
    failing.defer(() => slot.release())
    batch.push({ slot, token: (500 + at) % vocab })
  }
  const slots = failing.move()
  return { batch, [Symbol.dispose]: () => slots.dispose() }
}
