import type { Backbone } from '../../model/backbone/backbone-folder.ts'
import type { AdapterMetadata } from '../../shared/adapter-file.ts'
import { lengthOf } from '../../training/data/batches.ts'
import type { Example } from '../../training/data/example.ts'
import type { LineProblem } from '../../training/data/jsonl.ts'
import { overlap, type Percentiles, survey } from '../../training/data/survey.ts'
import { heldOutCount, splitHeldOut } from '../../training/held-out.ts'
import { meanGradients } from '../../training/loss/batch-loss.ts'
import { openLossModel } from '../../training/loss/onnx-loss-model.ts'
import type { TrainSettings } from '../../training/settings.ts'
import { type AdapterStart, startParameters } from '../../training/start/start.ts'
import { CliFailure } from '../command/failure.ts'
import { note, print, printJson, printTable } from '../command/output.ts'
import { servingDecoder } from '../tokenizer/serving-decoder.ts'
import type { TrainCommandOptions } from './options.ts'
import { duration } from './progress.ts'
import { stepsPerEpoch, trainSettings } from './settings.ts'
import { assertUsable, type TrainingData } from './training-data.ts'

const shownProblems = 20
const shownLabels = 20
const mostLabels = 1000

interface Inputs {
  readonly backbone: Backbone
  readonly data: TrainingData
  readonly metadata: AdapterMetadata
  readonly start: AdapterStart
}

/**
 * Says what is in the data and what training on it would be; throws what training would refuse. The time is estimated
 * from batches that are run and thrown away.
 */
export async function dryRun(inputs: Inputs, options: TrainCommandOptions): Promise<void> {
  const { data } = inputs
  const settings = trainSettings(options, data.train.examples.length)
  const report = await reportOf(inputs, settings)
  if (!options.json) printReport(report)
  let estimatedSeconds: number | undefined
  try {
    refuse(report.files)
    assertUsable(data.files, options)
    splitHeldOut(data.train.examples, settings)
    estimatedSeconds = await estimate(inputs, { settings, options })
  } finally {
    if (options.json) printJson({ ...report, estimatedSeconds })
  }
  if (!options.json) print(`about ${duration(estimatedSeconds)} on this machine`)
}

async function reportOf({ backbone, data, metadata }: Inputs, settings: TrainSettings) {
  const { accumulate, batch, steps } = settings
  const window = 'window' in metadata ? metadata.window : undefined
  const [train, dev] = [data.train.examples, data.dev.examples]
  return {
    files: data.files.map(({ dataset, problems }) => ({
      file: dataset.name,
      problems,
      ...survey(dataset.examples, {
        window: window ?? Number.POSITIVE_INFINITY,
        placement: metadata.placement,
        tail: metadata.tail,
      }),
    })),
    placement: metadata.placement,
    window,
    train: train.length,
    dev: dev.length,
    devInTrain: overlap({ train, dev }),
    labels: labelsOf(train, await servingDecoder(backbone)),
    steps,
    examplesPerStep: batch * accumulate,
    epochs: train.length === 0 ? 0 : steps / stepsPerEpoch(train.length, settings),
  }
}

/** How often each response stands in the data, most often first; none where responses are texts of their own. */
function labelsOf(
  examples: readonly Example[],
  decode: (ids: readonly number[]) => string,
): readonly { readonly label: string; readonly examples: number }[] {
  const groups = [...Map.groupBy(examples, ({ response }) => response.join()).values()]
  if (groups.length * 2 > examples.length || groups.length > mostLabels) return []
  return groups
    .map((group) => ({ label: decode(group[0]?.response ?? []).trim(), examples: group.length }))
    .toSorted((a, b) => b.examples - a.examples)
}

function printReport(report: Awaited<ReturnType<typeof reportOf>>): void {
  const { labels, placement, window } = report
  const read = placement === 'turn' ? 'newest turns' : 'prompts'
  for (const { file, problems, promptTokens, responseTokens, ...counts } of report.files) {
    print(file)
    printTable(
      ['', 'count'],
      [
        ['examples', String(counts.examples)],
        ['lines that cannot be used', String(problems.length)],
        ...(window === undefined
          ? []
          : [[`${read} longer than the window of ${window}`, String(counts.beyondWindow)]]),
        ['examples that repeat another', String(counts.duplicates)],
        ['prompts with several responses', String(counts.ambiguousPrompts)],
        ['different responses', String(counts.distinctResponses)],
      ],
    )
    printTable(
      ['tokens', 'least', 'median', '90 %', '99 %', 'most'],
      [
        ['prompt', ...columns(promptTokens)],
        ['response', ...columns(responseTokens)],
      ],
    )
  }
  if (labels.length > 0)
    printTable(
      ['label', 'examples'],
      labels.slice(0, shownLabels).map(({ label, examples }) => [label, String(examples)]),
    )
  if (labels.length > shownLabels) print(`and ${labels.length - shownLabels} more labels; --json has all`)
  print(
    `${report.train} to train on, ${report.dev} to measure on, ${report.devInTrain} of these with a prompt that is trained on`,
  )
  print(`${report.steps} steps of ${report.examplesPerStep} examples, ${report.epochs.toFixed(1)} epochs`)
}

/** Seconds that training takes here, from the speed of one batch of the data; dev measurements take a third of it. */
async function estimate(
  { backbone, data, metadata, start }: Inputs,
  { settings, options }: { settings: TrainSettings; options: TrainCommandOptions },
): Promise<number> {
  const { batch, evaluateEvery, steps } = settings
  const { checkpointing, threads } = options
  const parameters = await startParameters(backbone, { metadata, settings, start })
  const train = data.train.examples.toSorted((a, b) => lengthOf(a) - lengthOf(b))
  const middle = Math.max(0, Math.floor((train.length - batch) / 2))
  const examples = train.slice(middle, middle + batch)
  const model = await openLossModel({ backbone, metadata, checkpointing, threads })
  try {
    // The first run opens the graph.
    await meanGradients(model, { ...settings, examples: examples.slice(0, 1), parameters })
    const startedAt = performance.now()
    await meanGradients(model, { ...settings, examples, parameters })
    const perToken = (performance.now() - startedAt) / 1000 / tokensOf(examples)
    const perStep = (tokensOf(train) / train.length) * examplesPerStep(train.length, settings)
    const measured = tokensOf(data.dev.examples) * (1 + Math.ceil(steps / evaluateEvery))
    return perToken * (perStep * steps + measured / 3)
  } finally {
    await model.close()
  }
}

/** Examples that a step reads, on average: the last one of an epoch reads what is left. */
function examplesPerStep(examples: number, settings: TrainSettings): number {
  const { accumulate, batch } = settings
  const heldOut = heldOutCount(examples, settings)
  const ofHeldOut = heldOut === 0 ? 0 : heldOut / Math.ceil(heldOut / (batch * accumulate))
  return (examples - heldOut) / stepsPerEpoch(examples, settings) + ofHeldOut
}

const tokensOf = (examples: readonly Example[]) =>
  examples.reduce((sum, example) => sum + lengthOf(example), 0)

const columns = ({ least, median, p90, p99, most }: Percentiles) =>
  [least, median, p90, p99, most].map(String)

function refuse(files: readonly { file: string; problems: readonly LineProblem[] }[]): void {
  const all = files.flatMap(({ file, problems }) => problems.map((problem) => ({ file, ...problem })))
  if (all.length === 0) return
  for (const { file, line, problem } of all.slice(0, shownProblems)) note(`${file}, line ${line}: ${problem}`)
  if (all.length > shownProblems) note(`and ${all.length - shownProblems} more`)
  throw new CliFailure(`${all.length === 1 ? 'one line' : `${all.length} lines`} cannot be used`, {
    remedy: 'correct them or leave them out',
  })
}
