import { readFile } from 'node:fs/promises'
import { cpus } from 'node:os'
import { join } from 'node:path'
import packageJson from '../package.json' with { type: 'json' }
import { metadataStrings, parseAdapterFile } from '../shared/adapter-file.ts'
import { parameterCount } from '../shared/training/describe-adapter.ts'
import type { PreparedTask } from './prepare.ts'
import type { Result, RunIdentity } from './result.ts'
import { batch, type ExperimentRun, nameOf } from './run.ts'
import { score } from './score.ts'
import { type Bench, plannedTraining, trainVariant } from './train-variant.ts'
import { variants } from './variants.ts'

/** Two tasks whose late adapters are stacked, and the task that is measured, one of the two. */
export interface StackRun {
  /** In the order of the rows. */
  readonly parts: readonly [Part, Part]
  readonly measured: PreparedTask
  readonly task: string
  readonly seed: number
}

interface Part {
  readonly task: string
  readonly steps: number
  readonly prepared: PreparedTask
}

const variant = 'iapt-late'

/** The key that tells a stack's result from every other. */
export function stackIdentity(
  { parts, seed, task }: StackRun,
  { backbone }: Pick<Bench, 'backbone'>,
): RunIdentity {
  return {
    task,
    variant: `${variant} of ${parts.map((part) => part.task).join('+')}`,
    seed,
    steps: parts.reduce((sum, { steps }) => sum + steps, 0),
    adapter: Object.fromEntries(
      parts.map((part, at) => [String(at), metadataStrings(plan(part, { seed, backbone }).metadata)]),
    ),
    backbone: { slug: backbone.manifest.slug, digest: backbone.manifest.digest },
  }
}

/** Measures a task with the rows of both parts in its prompts. A part that is not trained yet is trained first. */
export async function runStack(run: StackRun, bench: Bench): Promise<Result> {
  const { measured, parts, seed } = run
  const files = []
  for (const part of parts) files.push(await fileOf(part, seed, bench))
  const scored = await score(measured, { ...bench, adapters: files })
  const { test } = measured
  return {
    ...stackIdentity(run, bench),
    ...scored,
    parameters: files.reduce((sum, { metadata }) => sum + parameterCount(metadata), 0),
    bytes: 0,
    trained: parts.reduce(
      (sum, { prepared, steps }) => sum + Math.min(prepared.train.length, steps * batch),
      0,
    ),
    tested: {
      likelihood: test.likelihood.length,
      labels: test.labels.length,
      answers: new Set(test.answers.map(({ instruction }) => instruction.join())).size,
    },
    trainSeconds: 0,
    trainTokensPerSecond: 0,
    versions: {
      quartet: packageJson.version,
      onnxruntime: packageJson.dependencies['onnxruntime-node'],
      node: process.versions.node,
    },
    cpu: `${cpus().length} × ${cpus()[0]?.model.trim() ?? 'unknown'}`,
  }
}

function plan({ prepared, steps }: Part, { backbone, seed }: Pick<Bench, 'backbone'> & { seed: number }) {
  return plannedTraining({ variant: variants[variant], seed, steps }, { backbone, header: prepared.header })
}

async function fileOf(part: Part, seed: number, bench: Bench) {
  const run: ExperimentRun = { task: part.task, variant, seed, steps: part.steps }
  const planned = plan(part, { backbone: bench.backbone, seed })
  const kept = await readFile(join(bench.work, `${nameOf(run)}.safetensors`)).then(
    parseAdapterFile,
    () => undefined,
  )
  const wanted = JSON.stringify(metadataStrings(planned.metadata))
  if (kept !== undefined && JSON.stringify(metadataStrings(kept.metadata)) === wanted) return kept
  const trained = await trainVariant({ ...planned, name: nameOf(run), examples: part.prepared.train }, bench)
  return trained.file
}
