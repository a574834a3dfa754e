import { asWritten } from './as-written.ts'
import { clipNorm } from './clip-norm.ts'
import { Batches, lengthOf } from './data/batches.ts'
import type { Example } from './data/example.ts'
import { divergence, LossWatch } from './divergence.ts'
import { splitHeldOut } from './held-out.ts'
import { meanGradients, meanLoss } from './loss/batch-loss.ts'
import type { LossModel, Parameters } from './loss/loss-model.ts'
import { type Moments, Optimizer } from './optimizer.ts'
import { parameterPart, updateRules } from './parameter-groups.ts'
import type { TrainRecord } from './record.ts'
import { rateFactor, type TrainSettings } from './settings.ts'

export type TrainEvent =
  | (TrainRecord & { readonly progress: TrainProgress })
  | { readonly type: 'checkpoint'; readonly step: number }
  /** The untuned backbone is about to be measured on so many dev examples. */
  | { readonly type: 'measuring untuned'; readonly examples: number; readonly progress: TrainProgress }

interface TrainProgress {
  readonly step: number
  readonly steps: number
  /** Undefined until a step has been made. */
  readonly secondsLeft: number | undefined
}

/** Everything that a training needs to go on from. */
export interface TrainState {
  /** Steps made. */
  readonly step: number
  readonly parameters: Parameters
  readonly moments: ReadonlyMap<string, Moments>
  /** The tensors with the lowest dev loss so far, as a file would hold them. */
  readonly best: Scored | undefined
  /** A record of each step that was measured, in order. */
  readonly history: readonly TrainRecord[]
  readonly seconds: number
}

interface Scored {
  readonly step: number
  readonly devLoss: number
  readonly parameters: Parameters
}

/** The state of a training before its first step. */
export function freshState(parameters: Parameters): TrainState {
  return { step: 0, parameters, moments: new Map(), best: undefined, history: [], seconds: 0 }
}

export interface TrainOptions {
  readonly model: LossModel
  /** Where to start: `freshState`, or the state of a training to go on with. */
  readonly start: TrainState
  /** Without dev examples nothing is measured, training does not stop early, and the last tensors are kept. */
  readonly data: { readonly train: readonly Example[]; readonly dev: readonly Example[] }
  readonly settings: TrainSettings
  /** That share the work of an update; one per core when absent. */
  readonly threads?: number | undefined
  readonly onEvent?: ((event: TrainEvent) => void) | undefined
  /** Keeps a state; called after every measurement and when training is interrupted. */
  readonly save?: ((state: TrainState) => Promise<void>) | undefined
  /** Interrupts training after the run in progress. */
  readonly signal?: AbortSignal | undefined
}

export interface TrainResult {
  /** `exhausted`: the dev loss stopped getting better before the last step. */
  readonly outcome: 'finished' | 'exhausted' | 'interrupted'
  /** The best tensors, or the last ones where there are no dev examples, as a file holds them. */
  readonly parameters: Parameters
  /** The step they are from. */
  readonly step: number
  readonly devLoss: number | undefined
  readonly state: TrainState
}

/**
 * Trains an adapter's tensors. The same options give the same tensors, however often training is interrupted and
 * taken up again from the state it saved.
 *
 * Throws `training_diverged` where the loss or a gradient is not finite or the loss keeps rising; what `save` throws
 * ends training as well.
 */
export async function train(options: TrainOptions): Promise<TrainResult> {
  const training = new Training(options)
  const outcome = await training.run().finally(() => training.close())
  const { best, step, parameters } = training.state
  const kept = best ?? { step, devLoss: undefined, parameters: asWritten(parameters, options.model.specs) }
  return { outcome, ...kept, state: training.state }
}

class Training {
  readonly #options: TrainOptions
  readonly #batches: Batches
  readonly #heldOut: Batches | undefined
  readonly #optimizer: Optimizer
  readonly #startedAt = performance.now()
  readonly #from: { readonly step: number; readonly seconds: number }
  readonly #history: TrainRecord[]
  readonly #watch: LossWatch
  /** Times of this process, in milliseconds. */
  readonly #stepTimes = new MeanTime()
  readonly #measurementTimes = new MeanTime()
  #step: number
  #best: Scored | undefined
  #savedStep: number

  constructor(options: TrainOptions) {
    const { settings, data, start } = options
    const { seed, batch, accumulate } = settings
    const { generators, heldOut } = splitHeldOut(data.train, settings)
    const size = batch * accumulate
    this.#options = options
    this.#batches = new Batches(generators, { size, seed })
    this.#heldOut = heldOut.length > 0 ? new Batches(heldOut, { size, seed }) : undefined
    this.#optimizer = new Optimizer(start.parameters, {
      ruleOf: updateRules(options.model.specs, settings),
      moments: start.moments,
      threads: options.threads,
    })
    this.#from = { step: start.step, seconds: start.seconds }
    this.#history = [...start.history]
    this.#watch = new LossWatch(start.history)
    this.#step = start.step
    this.#best = start.best
    this.#savedStep = start.step
  }

  get state(): TrainState {
    return {
      step: this.#step,
      parameters: this.#optimizer.parameters,
      moments: this.#optimizer.moments,
      best: this.#best,
      history: this.#history,
      seconds: this.#seconds,
    }
  }

  get #seconds(): number {
    return this.#from.seconds + (performance.now() - this.#startedAt) / 1000
  }

  async run(): Promise<TrainResult['outcome']> {
    const { settings } = this.#options
    try {
      await this.#measureUntuned()
      for (;;) {
        if (this.#isMeasuringPoint) await this.#measure()
        if (this.#step >= settings.steps) return 'finished'
        if (this.#isExhausted) return 'exhausted'
        await this.#makeStep()
      }
    } catch (error) {
      if (!(error instanceof Interruption)) throw error
      await this.#save()
      return 'interrupted'
    }
  }

  close(): Promise<void> {
    return this.#optimizer.close()
  }

  get #isMeasuringPoint(): boolean {
    const { evaluateEvery, steps } = this.#options.settings
    return this.#step > 0 && (this.#step % evaluateEvery === 0 || this.#step === steps)
  }

  get #isExhausted(): boolean {
    const { patience } = this.#options.settings
    if (patience === null || this.#best === undefined) return false
    const { step } = this.#best
    const since = this.#history.filter((record) => record.type === 'evaluation' && record.step > step)
    return since.length >= patience
  }

  async #measureUntuned(): Promise<void> {
    if (this.#options.data.dev.length === 0) return
    if (this.#history.some(({ type }) => type === 'untuned')) return
    const examples = this.#options.data.dev.length
    this.#options.onEvent?.({ type: 'measuring untuned', examples, progress: this.#progress })
    this.#record({ type: 'untuned', devLoss: await this.#devLoss(undefined) })
  }

  /** Measures the dev loss unless that has been done at this step, and saves the state. */
  async #measure(): Promise<void> {
    const step = this.#step
    const isNew = !this.#history.some((record) => record.type === 'evaluation' && record.step === step)
    const isMeasured = this.#options.data.dev.length > 0 && isNew
    if (isMeasured) {
      const parameters = asWritten(this.#optimizer.parameters, this.#options.model.specs)
      const devLoss = await this.#devLoss(parameters)
      if (!Number.isFinite(devLoss)) throw divergence(`the dev loss is ${devLoss} after step ${step}`)
      if (this.#best === undefined || devLoss < this.#best.devLoss) this.#best = { step, devLoss, parameters }
      this.#record({ type: 'evaluation', step, devLoss })
    }
    if (isMeasured || this.#savedStep !== step) await this.#save()
  }

  async #devLoss(parameters: Parameters | undefined): Promise<number> {
    const { model, data, settings } = this.#options
    const startedAt = performance.now()
    const loss = await meanLoss(model, {
      ...settings,
      examples: data.dev,
      parameters,
      beforeRun: this.#stopIfAsked,
    })
    this.#measurementTimes.add(performance.now() - startedAt)
    return loss
  }

  async #makeStep(): Promise<void> {
    const { model, settings } = this.#options
    const { parameters } = this.#optimizer
    const startedAt = performance.now()
    const step = this.#step + 1
    const factor = rateFactor(this.#step, settings)
    const batch = this.#batches.at(this.#step)
    const { loss, gradients } = await meanGradients(model, {
      ...settings,
      examples: batch,
      parameters,
      beforeRun: this.#stopIfAsked,
    })
    const trained = this.#heldOut === undefined ? gradients : without(gradients, 'rational')
    const gradientNorm = await this.#update(trained, { step, loss, factor })
    if (this.#heldOut !== undefined) {
      // Not interrupted: half a step has been made.
      const examples = this.#heldOut.at(this.#step)
      const held = await meanGradients(model, { ...settings, examples, parameters })
      await this.#update(only(held.gradients, 'rational'), { step, loss: held.loss, factor })
    }
    this.#step = step
    const milliseconds = performance.now() - startedAt
    this.#stepTimes.add(milliseconds)
    const tokens = batch.reduce((sum, example) => sum + lengthOf(example), 0)
    const tokensPerSecond = (tokens * 1000) / milliseconds
    this.#record({ type: 'step', step, loss, gradientNorm, rateFactor: factor, tokens, tokensPerSecond })
  }

  /** Clips the gradients and follows them. Returns their norm. */
  async #update(
    gradients: Parameters,
    { step, loss, factor }: { step: number; loss: number; factor: number },
  ): Promise<number> {
    const norm = clipNorm(gradients, this.#options.settings.clip)
    if (!Number.isFinite(loss)) throw divergence(`the loss is ${loss} at step ${step}`)
    if (!Number.isFinite(norm)) throw divergence(`the gradient's norm is ${norm} at step ${step}`)
    await this.#optimizer.update(gradients, factor)
    return norm
  }

  readonly #stopIfAsked = (): void => {
    if (this.#options.signal?.aborted) throw new Interruption()
  }

  #record(record: TrainRecord): void {
    this.#history.push(record)
    this.#options.onEvent?.({ ...record, progress: this.#progress })
    this.#watch.push(record)
  }

  get #progress(): TrainProgress {
    const { data, settings } = this.#options
    const { evaluateEvery, steps } = settings
    const step = this.#step
    const measurements =
      data.dev.length === 0 ? 0 : Math.ceil(steps / evaluateEvery) - Math.floor(step / evaluateEvery)
    const stepTime = this.#stepTimes.mean
    const secondsLeft =
      stepTime === undefined
        ? undefined
        : (stepTime * (steps - step) + (this.#measurementTimes.mean ?? stepTime) * measurements) / 1000
    return { step, steps, secondsLeft }
  }

  async #save(): Promise<void> {
    const { save, onEvent } = this.#options
    this.#savedStep = this.#step
    if (save === undefined) return
    await save(this.state)
    onEvent?.({ type: 'checkpoint', step: this.#step })
  }
}

class MeanTime {
  #sum = 0
  #count = 0

  add(milliseconds: number): void {
    this.#sum += milliseconds
    this.#count++
  }

  get mean(): number | undefined {
    return this.#count === 0 ? undefined : this.#sum / this.#count
  }
}

/** Ends a step that has changed nothing yet. */
class Interruption extends Error {}

type Part = ReturnType<typeof parameterPart>

const only = (tensors: Parameters, part: Part): Parameters =>
  new Map([...tensors].filter(([name]) => parameterPart(name) === part))

const without = (tensors: Parameters, part: Part): Parameters =>
  new Map([...tensors].filter(([name]) => parameterPart(name) !== part))
