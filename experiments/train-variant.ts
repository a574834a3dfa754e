import { createHash } from 'node:crypto'
import { mkdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { CliFailure, isSystemError } from '../cli/command/failure.ts'
import { writeFileAtomically } from '../cli/local/atomic-file.ts'
import type { Backbone } from '../model/backbone/backbone-folder.ts'
import { type AdapterFile, type AdapterMetadata, parseAdapterFile } from '../shared/adapter-file.ts'
import { describeAdapter } from '../shared/training/describe-adapter.ts'
import type { Example } from '../training/data/example.ts'
import type { RowPlaces } from '../training/graph/placement.ts'
import type { Parameters } from '../training/loss/loss-model.ts'
import { openLossModel } from '../training/loss/onnx-loss-model.ts'
import { LearningRates, TrainSettings } from '../training/settings.ts'
import { startParameters } from '../training/start/start.ts'
import type { TrainEvent, TrainState } from '../training/train.ts'
import { trainAdapter } from '../training/train-adapter.ts'
import { layouts } from './layouts.ts'
import type { Variant } from './variants.ts'

export interface TrainingRun extends PlannedTraining {
  /** Names its files: task, variant, seed, steps. */
  readonly name: string
  readonly examples: readonly Example[]
}

/** A training: its data and settings. */
export interface PlannedTraining {
  readonly metadata: AdapterMetadata
  readonly settings: TrainSettings
  /** Places of the rows that are not the placement's own. */
  readonly places?: RowPlaces | undefined
}

export interface Bench {
  readonly backbone: Backbone
  /** Where checkpoints and adapters are kept. */
  readonly work: string
  /** One per core when absent. */
  readonly threads: number | undefined
  readonly signal: AbortSignal
  readonly onEvent: (event: TrainEvent) => void
}

export interface TrainedVariant {
  readonly file: AdapterFile
  readonly parameters: Parameters
  readonly bytes: number
  readonly seconds: number
  /** Prompt and response tokens. */
  readonly tokensPerSecond: number
}

/** Steps between two checkpoints. */
const checkpointEvery = 10

const checkpointOf = ({ name }: Pick<TrainingRun, 'name'>, { work }: Pick<Bench, 'work'>) =>
  join(work, `${name}.checkpoint`)

/** Drops the checkpoint of a run whose result is kept. */
export async function dropCheckpoint(
  run: Pick<TrainingRun, 'name'>,
  bench: Pick<Bench, 'work'>,
): Promise<void> {
  await rm(checkpointOf(run, bench), { force: true })
}

/** Optimiser, rates and start of the independent reference, which all variants have that name no other ones. */
const ofReference = {
  rates: LearningRates.parse({ generator: 1e-3, anchor: 1e-2 }),
  optimizer: 'adamw',
  downDeviation: 1,
} as const satisfies Partial<TrainSettings>

export function plannedTraining(
  { seed, steps, variant }: { variant: Variant; seed: number; steps: number },
  { backbone, header }: { backbone: Backbone; header: number },
): PlannedTraining {
  return {
    places: variant.layout && layouts[variant.layout].places(header),
    metadata: describeAdapter({ ...backbone.manifest, header }, variant.adapter),
    settings: TrainSettings.parse({
      ...ofReference,
      ...variant.settings,
      seed,
      steps,
      evaluateEvery: checkpointEvery,
    }),
  }
}

/**
 * Trains a variant with the reference's schedule: no dev data, no early stopping, the last tensors kept. Goes on from
 * a checkpoint of an interrupted run. Throws when `signal` interrupts it, after a checkpoint.
 */
export async function trainVariant(run: TrainingRun, bench: Bench): Promise<TrainedVariant> {
  const { backbone, threads, work } = bench
  await mkdir(work, { recursive: true })
  const checkpoint = checkpointOf(run, bench)
  const { metadata, places, settings } = run
  const start = { from: 'fresh', rows: 'anchor' } as const
  const parameters = await startParameters(backbone, { metadata, settings, start })
  const trained = await trainAdapter(
    {
      backbone,
      metadata,
      settings,
      threads,
      start: { parameters, name: 'anchor' },
      data: {
        train: { examples: run.examples, source: sourceOf(run.examples) },
        dev: { examples: [], source: 'none' },
        prompts: 'chat',
      },
      open: (options) => openLossModel({ ...options, places }),
    },
    {
      checkpoints: {
        resumed: await readIfThere(checkpoint),
        save: (data) => writeFileAtomically(checkpoint, { data, mode: 0o644 }),
      },
      signal: bench.signal,
      onEvent: bench.onEvent,
    },
  )
  if (trained.outcome === 'interrupted')
    throw new CliFailure(`stopped at step ${trained.state.step} of ${run.name}`, {
      remedy: 'the same command goes on from there',
    })
  await writeFileAtomically(join(work, `${run.name}.safetensors`), { data: trained.bytes, mode: 0o644 })
  return {
    file: parseAdapterFile(trained.bytes),
    parameters: trained.parameters,
    bytes: trained.bytes.length,
    ...timesOf(trained.state),
  }
}

function timesOf({ seconds, history }: TrainState): Pick<TrainedVariant, 'seconds' | 'tokensPerSecond'> {
  const tokens = history.reduce((sum, record) => sum + (record.type === 'step' ? record.tokens : 0), 0)
  return { seconds, tokensPerSecond: tokens / seconds }
}

function sourceOf(examples: readonly Example[]): string {
  return createHash('sha256').update(JSON.stringify(examples)).digest('hex')
}

async function readIfThere(path: string): Promise<Uint8Array | undefined> {
  return await readFile(path).catch((error: unknown) => {
    if (isSystemError(error) && error.code === 'ENOENT') return undefined
    throw error
  })
}
