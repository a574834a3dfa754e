import type { Backend } from '../model/runtime/backend.ts'
import { prefilledRows, type Sequences } from './sequences.ts'
import { median, timed } from './statistics.ts'

/** Rounds in which sequences are made anew: where they lie in memory counts too. */
const [fewestRounds, mostRounds] = [3, 16]

/** As many rounds as let all adapters take part, each of a sequence, within what prompts may cost. */
export function roundsFor({ adapters, batch }: { adapters: number; batch: number }): number {
  return Math.min(mostRounds, Math.max(fewestRounds, Math.ceil(adapters / batch)))
}

/** How many of the adapters take part then. */
export function adaptersTakingPart({ adapters, batch }: { adapters: number; batch: number }): number {
  return Math.min(adapters, batch * roundsFor({ adapters, batch }))
}

/** The adapters of a round's sequences: the next ones in turn, and less than one for each where there are fewer. */
export function adaptersOfRound<T>(
  adapters: readonly T[],
  { batch, round }: { readonly batch: number; readonly round: number },
): readonly T[] {
  const first = (round * batch) % Math.max(1, adapters.length)
  return [...adapters.slice(first), ...adapters.slice(0, first)].slice(0, batch)
}

/** Median milliseconds of a decode step in which each sequence has its own adapter, over rounds with others. */
export async function decodeInRounds(
  backend: Backend,
  {
    adapters,
    batch,
    context,
    steps,
  }: Sequences & {
    /** Steps of all rounds together. */
    readonly steps: number
  },
): Promise<number> {
  const rounds = roundsFor({ adapters: adapters.length, batch })
  const times: number[] = []
  for (let round = 0; round < rounds; round++) {
    using rows = await prefilledRows(backend, {
      batch,
      context,
      adapters: adaptersOfRound(adapters, { batch, round }),
    })
    // The first step behind a prompt is another: it may be captured, or its memory may be new.
    await backend.decode(rows.batch)
    for (let step = 0; step < Math.ceil(steps / rounds); step++)
      times.push(await timed(() => backend.decode(rows.batch)))
  }
  return median(times)
}
