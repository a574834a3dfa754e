import { QuartetError } from '../../shared/errors.ts'
import type { TrainRecord } from './record.ts'

const remedies =
  'try half the rates (--rate, --anchor-rate), --clip 0.3, or the start that trains most evenly (--anchor own --placement after-first)'

export function divergence(what: string): QuartetError {
  return new QuartetError('training_diverged', `training stopped: ${what}; ${remedies}`)
}

/** Steps over which a loss is averaged: single spikes come and go. */
const span = 10

/**
 * Throws `training_diverged` when the mean loss of the last ten steps lies far above that of the first ten: by half of
 * it and by one nat at least.
 */
export function checkLosses(history: readonly TrainRecord[]): void {
  const losses = history.flatMap((record) => (record.type === 'step' ? [record.loss] : []))
  if (losses.length < 2 * span) return
  const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length
  const first = mean(losses.slice(0, span))
  const last = mean(losses.slice(-span))
  if (last > first + Math.max(1, first / 2))
    throw divergence(
      `the loss rose from ${first.toFixed(3)} in the first ${span} steps to ${last.toFixed(3)} in steps ${losses.length - span + 1} to ${losses.length}`,
    )
}
