import { lengthOf } from './batches.ts'
import type { Example } from './example.ts'

/** An example, or a part of a long one: up to where its loss is taken, without the tokens behind. */
export interface Stretch extends Example {
  /** Response tokens that give no loss here, as another stretch of the example has them; none when absent. */
  readonly unscored?: number
}

/** A stretch and which example of the batch it is of. */
export interface BatchStretch extends Stretch {
  readonly index: number
}

export interface RunLimits {
  /** Stretches of one run. */
  readonly examples: number
  /** Rows of one run, which its memory grows with: tokens with padding, and prompt rows. */
  readonly rows: number
  /** Rows of each sequence of a run. */
  readonly contextLength: number
  /** Rows of each sequence that such a run has, padding and prompt rows included. */
  readonly rowsOf: (run: readonly Stretch[]) => number
}

/**
 * Cuts a batch into runs of the model within these limits, of one stretch at least; stretches of similar length come
 * together. An example whose response is longer than a run is read several times, each time for the loss of another
 * part of it, since a row of logits is as large as the vocabulary.
 */
export function runsOf(
  batch: readonly Example[],
  { examples, rows, contextLength, rowsOf }: RunLimits,
): BatchStretch[][] {
  const stretches = batch.flatMap((example, index) => stretchesOf({ ...example, index }, rows))
  const runs: BatchStretch[][] = []
  let run: BatchStretch[] = []
  for (const stretch of stretches.toSorted((a, b) => lengthOf(a) - lengthOf(b))) {
    const longer = [...run, stretch]
    const each = rowsOf(longer)
    const fits = longer.length <= examples && longer.length * each <= rows && each <= contextLength
    if (fits || run.length === 0) run = longer
    else {
      runs.push(run)
      run = [stretch]
    }
  }
  return run.length > 0 ? [...runs, run] : runs
}

function stretchesOf(example: BatchStretch, most: number): BatchStretch[] {
  const { response } = example
  return Array.from({ length: Math.max(1, Math.ceil(response.length / most)) }, (_, at) => ({
    ...example,
    response: response.slice(0, (at + 1) * most),
    unscored: at * most,
  }))
}
