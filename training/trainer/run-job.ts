import type { Backbone } from '../../model/backbone/backbone-folder.ts'
import type { JobEvaluation } from '../../shared/api/fine-tuning.ts'
import { QuartetError, toQuartetError } from '../../shared/errors.ts'
import type { LogFields } from '../../shared/log.ts'
import type { ServingEncoder } from '../../shared/training/prompt-encoder.ts'
import {
  reportsPerLease,
  type TrainerReport,
  type TrainingWork,
} from '../../shared/training/trainer-protocol.ts'
import type { TrainRecord } from '../record.ts'
import { startParameters } from '../start/start.ts'
import { type TrainedAdapter, trainAdapter } from '../train-adapter.ts'
import type { EdgeClient } from './edge-client.ts'
import { GiveWay } from './give-way.ts'
import { failureReport } from './job-failure.ts'
import { type JobPlan, planJob } from './job-plan.ts'

/** The answers of the untuned and the tuned model. */
export type Comparison = Pick<JobEvaluation, 'accuracy' | 'answers_error' | 'samples'>

/** A trainer's means on its machine. */
export interface Workshop {
  readonly backbone: Backbone
  /** Threads that compute; as many as cores when absent. */
  readonly threads?: number | undefined
  readonly encoder: ServingEncoder
  /** Whether nodes on the same machine have requests, which go first. Never when absent. */
  readonly isBusy?: (() => Promise<boolean>) | undefined
  /** Answers validation prompts by the untuned and the tuned model, side by side. */
  readonly answers: (plan: JobPlan, trained: TrainedAdapter) => Promise<Comparison>
  readonly log: (event: string, fields?: LogFields) => void
}

type ProgressReport = Extract<TrainerReport, { type: 'progress' }>
type Metric = ProgressReport['metrics'][number]
/** Of one report. */
const maxMetrics = 1_000

/**
 * Trains one job from its last checkpoint on, reporting as it goes, until it has succeeded or failed, its tenant pauses
 * or cancels it, another trainer has its lease, or `signal` stops this one. A job that is left lives on in its last
 * checkpoint. Throws only what the edge's refusal of the last report throws.
 */
export async function runJob(
  client: EdgeClient,
  work: TrainingWork,
  { answers, backbone, encoder, isBusy, log, signal, threads }: Workshop & { readonly signal: AbortSignal },
): Promise<void> {
  const leaving = new AbortController()
  const progress = new Progress(work.checkpointStep ?? 0)
  const report = async (told: TrainerReport): Promise<void> => {
    const order = await client.report(work, told).catch((thrown: unknown) => {
      // Another trainer has the job, or it is gone.
      if (isOver(thrown)) return 'stop' as const
      throw thrown
    })
    if (order !== 'continue') leaving.abort()
  }
  const beat = setInterval(() => {
    const told = progress.take()
    report(told).catch((thrown: unknown) => {
      progress.putBack(told)
      log('report_failed', { reason: String(thrown) })
    })
  }, work.leaseMs / reportsPerLease)
  try {
    const plan = await readPlan(client, work, { backbone, encoder })
    await report({
      type: 'planned',
      steps: plan.settings.steps,
      tokens: plan.tokens,
      examples: plan.data.train.examples.length,
      validationTrainedOn: plan.trainedOn,
    })
    if (leaving.signal.aborted) return
    const beginAnew = async (thrown: QuartetError): Promise<void> => {
      log('checkpoint_useless', { job: work.job, reason: String(thrown) })
      progress.step = 0
      await report({ type: 'restarted', reason: useless(thrown) })
    }
    const resumed =
      work.checkpointStep === null
        ? undefined
        : await client.read(work, 'checkpoint').catch(async (thrown: unknown) => {
            if (!(thrown instanceof QuartetError && thrown.code === 'not_found')) throw thrown
            await beginAnew(thrown)
            return undefined
          })
    if (leaving.signal.aborted) return
    const { data, metadata, settings, start, startName } = plan
    const parameters = await startParameters(backbone, { metadata, settings, start })
    const stop = AbortSignal.any([signal, leaving.signal])
    const turns = isBusy && new GiveWay({ isBusy, signal: stop })
    let isResumed = false
    const train = (checkpoint: Uint8Array | undefined) =>
      trainAdapter(
        { backbone, metadata, settings, data, start: { parameters, name: startName }, threads, turns },
        {
          signal: stop,
          onEvent: (event) => {
            if (event.type !== 'checkpoint' && event.type !== 'measuring untuned')
              progress.add(event, event.progress)
          },
          onResume: async (state) => {
            isResumed = true
            progress.resume(state.step, state.history)
          },
          checkpoints: {
            resumed: checkpoint,
            save: async (bytes) => {
              await client.putCheckpoint(work, { bytes, step: progress.step, validLoss: progress.validLoss })
            },
          },
        },
      )
    const trained = await train(resumed).catch(async (thrown: unknown) => {
      if (resumed === undefined || isResumed || !isUselessCheckpoint(thrown)) throw thrown
      await beginAnew(thrown)
      // A checkpoint of no step would take the place of the one that the job keeps.
      return leaving.signal.aborted ? undefined : train(undefined)
    })
    if (trained === undefined) return
    if (trained.outcome === 'interrupted') {
      if (!leaving.signal.aborted) await report({ type: 'released', why: 'stopping' })
      return
    }
    // The lease lives while the two models answer, however long they take.
    await report(progress.take())
    if (leaving.signal.aborted) return
    const compared = await answers(plan, trained).catch((thrown: unknown) => {
      log('answers_failed', { job: work.job, reason: String(thrown) })
      return withoutAnswers(thrown)
    })
    if (leaving.signal.aborted) return
    const evaluation = {
      untuned_loss: progress.untunedLoss ?? null,
      tuned_loss: trained.devLoss ?? null,
      ...compared,
      samples: compared.samples.map(shortened),
    }
    const adapter = await client.putAdapter(work, trained.bytes)
    await report({ type: 'succeeded', adapter, trainedTokens: progress.tokens, evaluation })
  } catch (thrown) {
    if (leaving.signal.aborted) return
    const error = toQuartetError(thrown)
    log('job_failed', { job: work.job, code: error.code, reason: String(thrown) })
    await report(failureReport(error))
  } finally {
    clearInterval(beat)
  }
}

/** Whether an edge's refusal says that another trainer has the job, or that it is gone. */
const isOver = (thrown: unknown): boolean =>
  thrown instanceof QuartetError && (thrown.code === 'conflict' || thrown.code === 'not_found')

/** Of each text of a sample: four samples, whole prompts of a long context, would be more than a report may hold. */
const shownLength = 8_000

type Sample = Comparison['samples'][number]
const shortened = ({ expected, prompt, tuned, untuned }: Sample): Sample => ({
  prompt: prompt.slice(0, shownLength),
  expected: expected.slice(0, shownLength),
  untuned: untuned.slice(0, shownLength),
  tuned: tuned.slice(0, shownLength),
})

/** The comparison of a model that is trained, where answering failed. The model is no worse for it. */
const withoutAnswers = (thrown: unknown): Comparison => ({
  accuracy: null,
  samples: [],
  answers_error:
    thrown instanceof QuartetError
      ? thrown.message.slice(0, 2_000)
      : 'the trainer failed while the models answered; its log has the reason',
})

/** Whether a checkpoint is damaged, or of another training. */
const isUselessCheckpoint = (thrown: unknown): thrown is QuartetError =>
  thrown instanceof QuartetError && (thrown.code === 'checkpoint_invalid' || thrown.code === 'conflict')

function useless({ code }: QuartetError): string {
  if (code === 'conflict') return 'the checkpoint is of another training'
  return code === 'not_found' ? 'the checkpoint is lost' : 'the checkpoint is damaged'
}

async function readPlan(
  client: EdgeClient,
  work: TrainingWork,
  { backbone, encoder }: Pick<Workshop, 'backbone' | 'encoder'>,
): Promise<JobPlan> {
  const training = await client.read(work, 'training-file')
  const validation = work.hasValidationFile ? await client.read(work, 'validation-file') : undefined
  const adapter = work.from === null ? undefined : await client.read(work, 'adapter')
  return planJob(backbone, { encoder, work, files: { training, validation, adapter } })
}

/** The news since the last report. */
class Progress {
  readonly #since = performance.now()
  /** Tokens of earlier trainers of the job. */
  #resumedTokens = 0
  #metrics: Metric[] = []
  #secondsLeft: number | null = null
  step: number
  tokens = 0
  validLoss: number | undefined
  untunedLoss: number | undefined

  /** `step`: that of the checkpoint, until it is read. */
  constructor(step: number) {
    this.step = step
  }

  /** Goes on from a checkpoint: its records were reported before. */
  resume(step: number, history: readonly TrainRecord[]): void {
    for (const record of history) this.#count(record)
    this.#resumedTokens = this.tokens
    this.step = step
  }

  add(
    record: TrainRecord,
    { secondsLeft, step }: { readonly step: number; readonly secondsLeft: number | undefined },
  ): void {
    this.#count(record)
    this.step = step
    this.#secondsLeft = secondsLeft ?? null
    if (record.type === 'step') this.#metrics.push({ step, trainLoss: record.loss })
    else this.#metrics.push({ step, validLoss: record.devLoss })
  }

  take(): ProgressReport {
    const metrics = this.#metrics.splice(0, maxMetrics)
    const tokens = this.tokens - this.#resumedTokens
    return {
      type: 'progress',
      step: this.step,
      trainedTokens: this.tokens,
      secondsLeft: this.#secondsLeft,
      ...(tokens > 0 ? { tokensPerSecond: (1_000 * tokens) / (performance.now() - this.#since) } : {}),
      metrics,
    }
  }

  /** The report did not arrive: the next one tells what it told. */
  putBack({ metrics }: ProgressReport): void {
    this.#metrics.unshift(...metrics)
  }

  #count(record: TrainRecord): void {
    if (record.type === 'step') this.tokens += record.tokens
    else if (record.type === 'untuned') this.untunedLoss = record.devLoss
    else this.validLoss = record.devLoss
  }
}
