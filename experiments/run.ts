import { cpus } from 'node:os'
import type { Backbone } from '../model/backbone/backbone-folder.ts'
import packageJson from '../package.json' with { type: 'json' }
import type { AdapterMetadata } from '../shared/adapter-file.ts'
import { parameterCount } from '../shared/training/describe-adapter.ts'
import { openLossModel } from '../training/loss/onnx-loss-model.ts'
import type { PreparedTask } from './prepare.ts'
import type { Result, RunIdentity } from './result.ts'
import { type Scores, score, scoreByLoss } from './score.ts'
import {
  type Bench,
  type PlannedTraining,
  plannedTraining,
  type TrainedVariant,
  trainVariant,
} from './train-variant.ts'
import { type VariantName, variants } from './variants.ts'

export interface ExperimentRun {
  readonly task: string
  readonly variant: VariantName | 'untuned'
  readonly seed: number
  readonly steps: number
}

/** A backbone, and how many tokens its generation header has. */
interface Serving {
  readonly backbone: Backbone
  readonly header: number
}

export const batch = 16

/** The names of a run's files. */
export function nameOf({ task, variant, seed, steps }: ExperimentRun): string {
  return `${task}-${variant}-${seed}-${steps}`
}

/** The adapter that a run trains; undefined for the untuned backbone. */
function planOf({ seed, steps, variant }: ExperimentRun, serving: Serving): PlannedTraining | undefined {
  if (variant === 'untuned') return undefined
  return plannedTraining({ variant: variants[variant], seed, steps }, serving)
}

/** The key that tells a run from every other. */
export function identityOf(run: ExperimentRun, { backbone, header }: Serving): RunIdentity {
  const plan = planOf(run, { backbone, header })
  return {
    ...run,
    ...(plan && { adapter: described(plan.metadata), settings: plan.settings }),
    backbone: { slug: backbone.manifest.slug, digest: backbone.manifest.digest },
  }
}

/** Trains and measures one variant, or measures the untuned backbone. */
export async function runExperiment(
  run: ExperimentRun,
  { prepared, bench }: { prepared: PreparedTask; bench: Bench },
): Promise<Result> {
  const { backbone, threads } = bench
  const { header } = prepared
  const plan = planOf(run, { backbone, header })
  const trained =
    plan && (await trainVariant({ ...plan, name: nameOf(run), examples: prepared.train }, bench))
  const scored = await scoresOf(prepared, { backbone, plan, threads, trained })
  const { test, train } = prepared
  return {
    ...identityOf(run, { backbone, header }),
    ...scored,
    parameters: trained === undefined ? 0 : parameterCount(trained.file.metadata),
    bytes: trained?.bytes ?? 0,
    trained: trained === undefined ? 0 : Math.min(train.length, run.steps * batch),
    tested: {
      likelihood: test.likelihood.length,
      labels: plan?.places === undefined ? test.labels.length : 0,
      answers:
        plan?.places === undefined
          ? new Set(test.answers.map(({ instruction }) => instruction.join())).size
          : 0,
    },
    trainSeconds: trained?.seconds ?? 0,
    trainTokensPerSecond: trained?.tokensPerSecond ?? 0,
    versions: {
      quartet: packageJson.version,
      onnxruntime: packageJson.dependencies['onnxruntime-node'],
      node: process.versions.node,
    },
    cpu: `${cpus().length} × ${cpus()[0]?.model.trim() ?? 'unknown'}`,
  }
}

async function scoresOf(
  prepared: PreparedTask,
  {
    backbone,
    plan,
    threads,
    trained,
  }: Pick<Bench, 'backbone' | 'threads'> & {
    plan: PlannedTraining | undefined
    trained: TrainedVariant | undefined
  },
): Promise<Scores> {
  if (plan?.places === undefined || trained === undefined)
    return await score(prepared, { backbone, threads, adapters: trained === undefined ? [] : [trained.file] })
  const { metadata, places, settings } = plan
  const model = await openLossModel({ backbone, metadata, places, threads })
  try {
    return await scoreByLoss(prepared, {
      model,
      parameters: trained.parameters,
      batch,
      batchTokens: settings.batchTokens,
    })
  } finally {
    await model.close()
  }
}

/** Describes an adapter, without the fields that are the same for all adapters of a backbone. */
function described(metadata: AdapterMetadata): Record<string, unknown> {
  const { format, backbone, backbone_sha256, ...rest } = metadata
  return rest
}
