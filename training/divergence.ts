import { QuartetError } from '../shared/errors.ts'
import type { TrainRecord } from './record.ts'

/** The caller says what to try against it: a command has options, and a job has fields. */
export const divergence = (what: string): QuartetError =>
  new QuartetError('training_diverged', `training stopped: ${what}`)

/** Steps over which a loss is averaged: single spikes come and go. */
const span = 10

/** The loss is above the base by half of the base, and by one nat at least. */
const liesFarAbove = (loss: number, base: number) => loss > base + Math.max(1, base / 2)
/**
 * The lowest of many losses is low by chance as well. So the loss must be above it by all of it, and by two nats at
 * least.
 */
const liesFarAboveBest = (loss: number, best: number) => loss > best + Math.max(2, best)

interface Mean {
  readonly loss: number
  /** The last of its steps. */
  readonly step: number
}

/**
 * Watches a training's records for a loss that runs away: the mean of the last ten steps lies far above that of the
 * first ten or the best ten, or a dev loss far above both that of the untuned backbone and the first step's loss. A dev
 * loss that only rises again is for early stopping, which keeps the best tensors.
 */
export class LossWatch {
  /** The losses of the last steps, at most `span`. */
  readonly #losses: number[] = []
  #untuned: number | undefined
  #firstLoss: number | undefined
  #first: Mean | undefined
  #best: Mean | undefined

  /** Goes on behind what was recorded before. */
  constructor(history: readonly TrainRecord[]) {
    for (const record of history) this.#see(record)
  }

  /** Takes the next record. Throws `training_diverged`. */
  push(record: TrainRecord): void {
    const mean = this.#see(record)
    if (record.type === 'evaluation') this.#checkDev(record)
    if (mean !== undefined) this.#checkTrend(mean)
  }

  #see(record: TrainRecord): Mean | undefined {
    if (record.type === 'untuned') this.#untuned = record.devLoss
    if (record.type !== 'step') return undefined
    this.#firstLoss ??= record.loss
    this.#losses.push(record.loss)
    if (this.#losses.length > span) this.#losses.shift()
    if (this.#losses.length < span) return undefined
    const mean = { step: record.step, loss: this.#losses.reduce((a, b) => a + b, 0) / span }
    this.#first ??= mean
    if (this.#best === undefined || mean.loss < this.#best.loss) this.#best = mean
    return mean
  }

  #checkDev({ devLoss, step }: { devLoss: number; step: number }): void {
    if (this.#untuned === undefined || this.#firstLoss === undefined) return
    if (liesFarAbove(devLoss, Math.max(this.#untuned, this.#firstLoss)))
      throw divergence(
        `the dev loss is ${devLoss.toFixed(3)} after step ${step}, and the untuned backbone has ${this.#untuned.toFixed(3)}`,
      )
  }

  #checkTrend(last: Mean): void {
    for (const [base, isFar] of [
      [this.#first, liesFarAbove],
      [this.#best, liesFarAboveBest],
    ] as const)
      if (base !== undefined && last.step >= base.step + span && isFar(last.loss, base.loss))
        throw divergence(`the loss rose from ${said(base)} to ${said(last)}`)
  }
}

const said = ({ loss, step }: Mean) => `${loss.toFixed(3)} in steps ${step - span + 1} to ${step}`
