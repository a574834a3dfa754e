import type { NamedExamples } from '../../gpu-node/train/adapter-training.ts'
import {
  type EncodeOptions,
  type Reading,
  readDataset,
  requireExamples,
} from '../../gpu-node/train/data/dataset.ts'
import { splitDev } from '../../gpu-node/train/data/split.ts'
import { overlap } from '../../gpu-node/train/data/survey.ts'
import { CliFailure } from '../failure.ts'
import { note } from '../output.ts'

export interface TrainingData {
  /** The files as they were read. */
  readonly files: readonly Reading[]
  readonly train: NamedExamples
  readonly dev: NamedExamples
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
export async function readTrainingData(
  { data, dev, devShare, seed, tolerant }: DataOptions,
  encode: EncodeOptions,
): Promise<TrainingData> {
  const train = await readDataset(data, encode)
  const set = tolerant ? train.dataset : requireExamples(train, { least: 2 })
  if (dev !== undefined) {
    const reading = await readDataset(dev, encode)
    const devSet = tolerant ? reading.dataset : requireExamples(reading, { least: 1 })
    refuseRepetition({ train: set, dev: devSet })
    return { files: [train, reading], train: named(set), dev: named(devSet) }
  }
  const isSplittable = set.examples.length > 1
  const split = isSplittable
    ? splitDev(set.examples, { share: devShare, seed })
    : { train: set.examples, dev: [] }
  if (devShare > 0 && !tolerant)
    note(`no --dev given: ${split.dev.length} of ${set.examples.length} examples are set apart to measure on`)
  return {
    files: [train],
    train: { source: set.sha256, examples: split.train },
    dev: { source: devShare > 0 ? `${devShare} of the training data` : 'none', examples: split.dev },
  }
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
