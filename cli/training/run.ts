import type { AdapterMetadata } from '../../shared/adapter-file.ts'
import { sha256Hex } from '../../shared/digest.ts'
import { adapterBytes, describeAdapter, parameterCount } from '../../shared/training/describe-adapter.ts'
import { ignoredKeys } from '../../training/data/dataset.ts'
import { splitHeldOut } from '../../training/held-out.ts'
import { lossCurve } from '../../training/loss-curve.ts'
import type { TrainRecord } from '../../training/record.ts'
import { startParameters } from '../../training/start/start.ts'
import { type TrainedAdapter, trainAdapter } from '../../training/train-adapter.ts'
import { note, print, printJson } from '../command/output.ts'
import { requireBackbone } from '../local/local-backbone.ts'
import { stopRequest } from '../local/stop-request.ts'
import { assertPromptFormat, servingEncoder } from '../tokenizer/serving-encoder.ts'
import { adapterChoices } from './adapter-choices.ts'
import { dryRun } from './dry-run.ts'
import { refuseIdleOptions } from './idle-options.ts'
import type { TrainCommandOptions } from './options.ts'
import { duration, trainPrinter } from './progress.ts'
import { trainSettings } from './settings.ts'
import { chosenStart } from './start.ts'
import { readTrainingData } from './training-data.ts'
import { trainingFailure } from './training-failure.ts'
import {
  assertFilesUsable,
  assertRoom,
  checkpointFile,
  metricsFile,
  prepareFiles,
  refuseOverwriting,
  type TrainingFiles,
  trainingFiles,
  withTrainingFiles,
  writeCurve,
  writeResult,
} from './training-files.ts'

/** `quartet adapter train`: from a file of examples to an adapter file. */
export async function runTraining(options: TrainCommandOptions): Promise<void> {
  if (options.out === undefined || options.dryRun) {
    if (options.out !== undefined) await assertFilesUsable(trainingFiles(options.out), options)
    const { backbone, data, metadata, start } = await readInputs(options)
    await dryRun({ backbone, data, metadata, start }, options)
    return
  }
  const files = trainingFiles(options.out)
  refuseOverwriting(files, options)
  await withTrainingFiles(files, () => trainInto(files, options))
}

/** The files that the options name, read and checked. */
async function readInputs(options: TrainCommandOptions) {
  const backbone = await requireBackbone(options.backbone, options.weights)
  assertPromptFormat(backbone, options.prompts)
  const encoder = await servingEncoder(backbone)
  const { start, name } = await chosenStart(options, encoder)
  const metadata = describeAdapter(
    { ...backbone.manifest, header: encoder.generationHeader },
    adapterChoices(options, start),
  )
  refuseIdleOptions(options, metadata)
  const room = backbone.manifest.config.contextLength - metadata.l_sp
  const data = await readTrainingData(
    { ...options, tolerant: options.dryRun },
    { encoder, prompts: options.prompts, room, readers: [metadata] },
  )
  for (const { dataset, ignored } of data.files)
    if (ignored.size > 0) note(`${dataset.name}: ${ignoredKeys(ignored)}`)
  return { backbone, metadata, data, start, name }
}

async function trainInto(files: TrainingFiles, options: TrainCommandOptions): Promise<void> {
  const resumed = await prepareFiles(files, options)
  const { backbone, data, metadata, name, start } = await readInputs(options)
  const settings = trainSettings(options, data.train.examples.length)
  await assertRoom(files, checkpointBytes(metadata))
  const parameters = await startParameters(backbone, { metadata, settings, start })
  note(describe(metadata, { steps: settings.steps, seed: settings.seed }))

  const metrics = metricsFile(files)
  splitHeldOut(data.train.examples, settings)
  if (resumed === undefined) await metrics.begin([])
  const history: TrainRecord[] = []
  using stop = stopRequest(() => process.exit(130))
  using printer = trainPrinter()
  const trained = await trainAdapter(
    {
      backbone,
      metadata,
      settings,
      data,
      start: { parameters, name },
      checkpointing: options.checkpointing,
      threads: options.threads,
    },
    {
      checkpoints: checkpointFile(files, { resumed }),
      signal: stop.signal,
      onResume: async (state) => {
        note(`going on from step ${state.step}`)
        for (const record of state.history) history.push(record)
        await metrics.begin(history)
      },
      onEvent: (event) => {
        printer.onEvent(event)
        if (event.type === 'checkpoint' || event.type === 'measuring untuned') return
        const { progress, ...record } = event
        history.push(record)
        metrics.append(record)
      },
    },
  ).catch(async (error: unknown): Promise<never> => {
    await metrics.complete(history).catch(() => undefined)
    // A curve shows best where the training went wrong.
    if (history.length > 0) await writeCurve(files, lossCurve(history, 'Loss')).catch(() => undefined)
    throw trainingFailure(error)
  })
  printer[Symbol.dispose]()
  await metrics.complete(history)
  if (trained.outcome === 'interrupted') {
    note(howToResume(trained, files))
    process.exitCode = 130
    return
  }
  await finish(trained, { files, json: options.json })
}

/** Values, the optimiser's two means and the best values so far in f32; the file before it; the adapter; some history. */
function checkpointBytes(metadata: AdapterMetadata): number {
  return 2 * 4 * 4 * parameterCount(metadata) + adapterBytes(metadata) + 1_000_000
}

function describe(metadata: AdapterMetadata, { steps, seed }: { steps: number; seed: number }): string {
  const { kind, l_sp, anchor, placement } = metadata
  const size = `${parameterCount(metadata).toLocaleString('en')} parameters, ${(adapterBytes(metadata) / 1e6).toFixed(2)} MB`
  return `${kind}, ${l_sp} rows (anchor ${anchor}, ${placement}), ${size}; ${steps} steps, seed ${seed}`
}

function howToResume({ state }: TrainedAdapter, { adapter, checkpoint }: TrainingFiles): string {
  const words = process.argv.slice(2).filter((word) => word !== '--resume' && word !== '--force')
  const goOn = `go on with: npx quartet ${words.map(quoted).join(' ')} --resume`
  const take = `take the adapter as it is with: npx quartet adapter export ${quoted(checkpoint)} --out ${quoted(adapter)}`
  return [
    `quartet: stopped after step ${state.step}; everything is in ${checkpoint}`,
    goOn,
    ...(state.step > 0 ? [take] : []),
  ].join('\n')
}

const quoted = (word: string) => (/^[\w./:=@,-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`)

const nothingLearned =
  'look at the responses with --dry-run; try half the rates, more --epochs or another --seed'

async function finish(
  trained: TrainedAdapter,
  { files, json }: { files: TrainingFiles; json: boolean },
): Promise<void> {
  const { bytes, devLoss, outcome, state, step } = trained
  const untuned = state.history.find((record) => record.type === 'untuned')?.devLoss
  await writeResult(files, { adapter: bytes, curve: lossCurve(state.history, 'Loss') })
  const digest = await sha256Hex(bytes)
  const summary = {
    digest,
    bytes: bytes.length,
    outcome,
    steps: state.step,
    bestStep: step,
    devLoss,
    untuned,
  }
  if (outcome === 'exhausted')
    note(`stopped early: the dev loss was best at step ${step} and has not fallen since`)
  if (devLoss !== undefined && untuned !== undefined)
    note(
      `dev loss ${devLoss.toFixed(4)} (step ${step}); the untuned backbone has ${untuned.toFixed(4)}${devLoss < untuned ? '' : `, so nothing was learned: ${nothingLearned}`}`,
    )
  if (devLoss === undefined)
    note('nothing was measured; quartet adapter eval scores the adapter on held-out examples')
  note(`${files.adapter}: ${bytes.length} bytes after ${duration(state.seconds)}`)
  if (json) printJson({ ...summary, seconds: state.seconds })
  else print(digest)
}
