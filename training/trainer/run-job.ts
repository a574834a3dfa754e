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

type Metric = Extract<TrainerReport, { type: 'progress' }>['metrics'][number]

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
  const progress = new Progress()
  const report = async (told: TrainerReport): Promise<void> => {
    const order = await client.report(work, told).catch((thrown: unknown) => {
      // Another trainer has the job, or it is gone.
      if (thrown instanceof QuartetError && thrown.status < 500) return 'stop' as const
      throw thrown
    })
    if (order !== 'continue') leaving.abort()
  }
  const beat = setInterval(() => {
    report(progress.take()).catch((thrown: unknown) => log('report_failed', { reason: String(thrown) }))
  }, work.leaseMs / reportsPerLease)
  try {
    const plan = await readPlan(client, work, { backbone, encoder })
    await report({
      type: 'planned',
      steps: plan.settings.steps,
      tokens: plan.tokens,
      examples: plan.data.train.examples.length,
    })
    if (leaving.signal.aborted) return
    const resumed = work.checkpointStep === null ? undefined : await client.read(work, 'checkpoint')
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
      log('checkpoint_useless', { job: work.job, reason: String(thrown) })
      await report({ type: 'restarted', reason: useless(thrown) })
      return train(undefined)
    })
    if (trained.outcome === 'interrupted') {
      if (!leaving.signal.aborted) await report({ type: 'released' })
      return
    }
    // The lease lives while the two models answer, however long they take.
    await report(progress.take())
    if (leaving.signal.aborted) return
    const compared = await answers(plan, trained).catch((thrown: unknown) => {
      log('answers_failed', { job: work.job, reason: String(thrown) })
      return withoutAnswers(thrown)
    })
    clearInterval(beat)
    if (leaving.signal.aborted) return
    const evaluation = {
      untuned_loss: progress.untunedLoss ?? null,
      tuned_loss: trained.devLoss ?? null,
      ...compared,
    }
    const adapter = await client.putAdapter(work, trained.bytes)
    await report({ type: 'succeeded', adapter, trainedTokens: progress.tokens, evaluation })
  } catch (thrown) {
    if (leaving.signal.aborted) return
    const error = toQuartetError(thrown)
    log('job_failed', { job: work.job, code: error.code, reason: String(thrown) })
    const isDataAtFault = error.status < 500
    await report(
      isDataAtFault
        ? {
            type: 'failed',
            code: error.code,
            message: error.message.slice(0, 2_000),
            param: error.param ?? null,
          }
        : { type: 'released' },
    )
  } finally {
    clearInterval(beat)
  }
}

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

const useless = ({ code }: QuartetError): string =>
  code === 'conflict' ? 'the checkpoint is of another training' : 'the checkpoint is damaged'

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
  step = 0
  tokens = 0
  validLoss: number | undefined
  untunedLoss: number | undefined

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

  take(): TrainerReport {
    const metrics = this.#metrics.slice(-1_000)
    this.#metrics = []
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

  #count(record: TrainRecord): void {
    if (record.type === 'step') this.tokens += record.tokens
    else if (record.type === 'untuned') this.untunedLoss = record.devLoss
    else this.validLoss = record.devLoss
  }
}
