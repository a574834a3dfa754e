import { Random } from '../../shared/prng.ts'
import { shuffled } from '../../training/data/batches.ts'

/** This many of the items, drawn with one seed for all runs; for files that are sorted. */
export function sample<T>(items: readonly T[], count: number): readonly T[] {
  return shuffled(items, new Random(77)).slice(0, count)
}
