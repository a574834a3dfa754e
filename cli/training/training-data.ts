import type { PromptFormat } from '../../shared/training/prompt-encoder.ts'
import type { NamedExamples } from '../../training/adapter-training.ts'
import {
  type EncodeOptions,
  type Reading,
  readDataset,
  requireExamples,
} from '../../training/data/dataset.ts'
import { isSplittable, splitDev } from '../../training/data/split.ts'
import { overlap } from '../../training/data/survey.ts'
import { CliFailure } from '../command/failure.ts'
import { note } from '../command/output.ts'

export interface TrainingData {
  /** The files as they were read. */
  readonly files: readonly Reading[]
  readonly train: NamedExamples
  readonly dev: NamedExamples
  readonly prompts: PromptFormat
}

interface DataOptions {
  readonly data: string
  readonly dev?: string | undefined
  readonly devShare: number
  readonly seed: number
  /** Takes lines that cannot be used as they come; otherwise the first one ends the reading. */
  readonly tolerant: boolean
}

/** The examples to train and to measure on. Throws CliFailure and `training_data_invalid`. */
export async function readTrainingData(options: DataOptions, encode: EncodeOptions): Promise<TrainingData> {
  const { data, dev, devShare, seed, tolerant } = options
  const { prompts } = encode
  const train = await readDataset(data, encode)
  const files = dev === undefined ? [train] : [train, await readDataset(dev, encode)]
  if (!tolerant) assertUsable(files, options)
  const { examples, sha256 } = train.dataset
  const [, given] = files
  if (given !== undefined) return { files, prompts, train: named(train.dataset), dev: named(given.dataset) }
  const split =
    tolerant && !isSplittable(examples)
      ? { train: examples, dev: [] }
      : splitDev(examples, { share: devShare, seed })
  if (devShare > 0 && !tolerant)
    note(`no --dev given: ${split.dev.length} of ${examples.length} examples are set apart to measure on`)
  return {
    files,
    prompts,
    train: { source: sha256, examples: split.train },
    dev: { source: devShare > 0 ? `${devShare} of the training data` : 'none', examples: split.dev },
  }
}

const listing = '--dry-run'

/** Throws CliFailure and `training_data_invalid` for files that nothing can be trained on. */
export function assertUsable(
  [train, dev]: readonly Reading[],
  { devShare, seed }: Pick<DataOptions, 'devShare' | 'seed'>,
): void {
  if (train === undefined) return
  const set = requireExamples(train, { least: 2, listing })
  if (dev === undefined) splitDev(set.examples, { share: devShare, seed })
  else refuseRepetition({ train: set, dev: requireExamples(dev, { least: 1, listing }) })
}

/** A dev file measures nothing where its prompts have been trained on. */
function refuseRepetition({ train, dev }: { train: Reading['dataset']; dev: Reading['dataset'] }): void {
  const repeated = overlap({ train: train.examples, dev: dev.examples })
  if (repeated === 0) return
  const whole = dev.examples.length
  const says = `${repeated} of the ${whole} prompts in ${dev.name} are in ${train.name} as well`
  if (repeated * 2 < whole) note(`${says}: the dev loss is too good by that much`)
  else
    throw new CliFailure(`${says}, so the dev loss would measure what was trained`, {
      remedy: 'give other examples with --dev, or leave it out to have a share of --data set apart',
    })
}

const named = ({ examples, sha256 }: Reading['dataset']): NamedExamples => ({ examples, source: sha256 })
