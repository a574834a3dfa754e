import type { Backbone } from '../../model/backbone/backbone-folder.ts'
import { type AdapterFile, type AdapterMetadata, parseAdapterFile } from '../../shared/adapter-file.ts'
import { choicesOf, describeAdapter } from '../../shared/training/describe-adapter.ts'
import { devShare, jobSize, tokensOfJob } from '../../shared/training/job-size.ts'
import {
  type PromptFormat,
  promptFormatOf,
  type ServingEncoder,
} from '../../shared/training/prompt-encoder.ts'
import type { TrainingWork } from '../../shared/training/trainer-protocol.ts'
import type { NamedExamples } from '../adapter-training.ts'
import { lengthOf } from '../data/batches.ts'
import { parseDatasetInTurns, requireExamples } from '../data/dataset.ts'
import type { Example } from '../data/example.ts'
import { isSplittable, splitDev } from '../data/split.ts'
import { withOtherPrompts } from '../data/survey.ts'
import { defaultEvaluateEvery, LearningRates, TrainSettings } from '../settings.ts'
import type { AdapterStart } from '../start/start.ts'
import { questionsOf } from './questions.ts'

/** The plan that a job's files and hyperparameters give. */
export interface JobPlan {
  readonly metadata: AdapterMetadata
  readonly start: AdapterStart
  readonly startName: string
  readonly settings: TrainSettings
  readonly data: {
    readonly train: NamedExamples
    readonly dev: NamedExamples
    readonly prompts: PromptFormat
  }
  /** Validation examples that are not measured, as their prompts are trained on. */
  readonly trainedOn: number
  /** The questions of the first validation examples, as their file has them. */
  readonly questions: ReadonlyMap<Example, string>
  /** Tokens that all steps together read. */
  readonly tokens: number
}

/** Short runs of the model, which fit between two answers of a node that goes first (`GiveWay`). */
const batchTokens = 256

/** Validation examples that a job's result is shown on, at most. */
export const maxShown = 16

export interface JobFiles {
  readonly training: Uint8Array
  readonly validation: Uint8Array | undefined
  /** The adapter to go on from. */
  readonly adapter: Uint8Array<ArrayBuffer> | undefined
}

/** Reads a job's files, with turns for the reports of its trainer in between. Throws `training_data_invalid`, `adapter_invalid` and `backbone_mismatch`. */
export async function planJob(
  { manifest }: Pick<Backbone, 'manifest'>,
  {
    encoder,
    files,
    work,
  }: { readonly encoder: ServingEncoder; readonly files: JobFiles; readonly work: TrainingWork },
): Promise<JobPlan> {
  const { learning_rate_multiplier: multiplier, placement } = work.hyperparameters
  const from: AdapterFile | undefined = files.adapter && parseAdapterFile(files.adapter)
  const metadata = describeAdapter(
    { ...manifest, header: encoder.generationHeader },
    from === undefined
      ? { kind: 'iapt', placement: placement === 'auto' ? undefined : placement }
      : choicesOf(from.metadata),
  )
  const prompts = promptFormatOf(manifest)
  const reading = {
    encoder,
    prompts,
    room: manifest.config.contextLength - metadata.l_sp,
    readers: [metadata],
  }
  const whole = requireExamples(
    await parseDatasetInTurns(files.training, { ...reading, name: 'training_file' }),
    { least: 2 },
  )
  const { seed } = work
  const validation =
    files.validation &&
    requireExamples(await parseDatasetInTurns(files.validation, { ...reading, name: 'validation_file' }), {
      least: 1,
    })
  const split =
    validation !== undefined
      ? {
          train: whole.examples,
          dev: withOtherPrompts({ train: whole.examples, dev: validation.examples }),
        }
      : isSplittable(whole.examples)
        ? splitDev(whole.examples, { share: devShare, seed })
        : { train: whole.examples, dev: [] }
  const size = jobSize(split.train.length, work.hyperparameters)
  const factor = multiplier === 'auto' ? 1 : multiplier
  const settings = TrainSettings.parse({
    seed,
    steps: size.steps,
    batch: size.batch,
    batchTokens,
    evaluateEvery: defaultEvaluateEvery(size.steps),
    rates: Object.fromEntries(
      Object.entries(LearningRates.parse({})).map(([name, rate]) => [name, Math.min(1, rate * factor)]),
    ),
  })
  const perEpoch = split.train.reduce((sum, example) => sum + lengthOf(example), 0)
  return {
    metadata,
    start: from === undefined ? { from: 'fresh', rows: 'anchor' } : { from: 'adapter', file: from },
    startName: work.from === null ? 'anchor' : `adapter ${work.from}`,
    settings,
    data: {
      prompts,
      train: { examples: split.train, source: whole.sha256 },
      dev: {
        examples: split.dev,
        source: validation?.sha256 ?? `${devShare} of the training data`,
      },
    },
    trainedOn: validation === undefined ? 0 : validation.examples.length - split.dev.length,
    questions: questionsOf(files.validation ?? files.training, {
      all: (validation ?? whole).examples,
      asked: split.dev.slice(0, maxShown),
    }),
    tokens: tokensOfJob(perEpoch, size),
  }
}
