import { QuartetError } from '../../shared/errors.ts'
import type { TrainRecord } from './record.ts'

const remedies =
  'try half the rates (--rate, --anchor-rate), --clip 0.3, or the start that trains most evenly (--anchor own --placement after-first)'

export function divergence(what: string): QuartetError {
  return new QuartetError('training_diverged', `training stopped: ${what}; ${remedies}`)
}

/** Steps over which a loss is averaged: single spikes come and go. */
const span = 10

/** By half of it and by one nat at least. */
const liesFarAbove = (loss: number, base: number) => loss > base + Math.max(1, base / 2)

/**
 * Throws `training_diverged` when the mean loss of the last ten steps lies far above that of the first ten, or a dev
 * loss far above both that of the untuned backbone and the first step's loss.
 */
export function checkLosses(history: readonly TrainRecord[]): void {
  checkTrend(history)
  checkDevLoss(history)
}

function checkDevLoss(history: readonly TrainRecord[]): void {
  const last = history.at(-1)
  const untuned = history.find((record) => record.type === 'untuned')
  const first = history.find((record) => record.type === 'step')
  if (last?.type !== 'evaluation' || untuned === undefined || first === undefined) return
  if (liesFarAbove(last.devLoss, Math.max(untuned.devLoss, first.loss)))
    throw divergence(
      `the dev loss is ${last.devLoss.toFixed(3)} after step ${last.step}, and the untuned backbone has ${untuned.devLoss.toFixed(3)}`,
    )
}

function checkTrend(history: readonly TrainRecord[]): void {
  const losses = history.flatMap((record) => (record.type === 'step' ? [record.loss] : []))
  if (losses.length < 2 * span) return
  const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length
  const first = mean(losses.slice(0, span))
  const last = mean(losses.slice(-span))
  if (liesFarAbove(last, first))
    throw divergence(
      `the loss rose from ${first.toFixed(3)} in the first ${span} steps to ${last.toFixed(3)} in steps ${losses.length - span + 1} to ${losses.length}`,
    )
}
