import { join } from 'node:path'
import { CliFailure } from '../cli/command/failure.ts'
import { note, print } from '../cli/command/output.ts'
import { requireBackbone } from '../cli/local/local-backbone.ts'
import { stopRequest } from '../cli/local/stop-request.ts'
import { linePrinter } from '../cli/training/progress.ts'
import { defaultSteps } from '../shared/training/job-size.ts'
import { prepareTask } from './prepare.ts'
import { resultsFile, writeReport } from './report.ts'
import { appendResult, isFinished, readResults } from './result.ts'
import { batch, type ExperimentRun, identityOf, nameOf, runExperiment } from './run.ts'
import { type TaskName, tasks } from './tasks/tasks.ts'
import { dropCheckpoint } from './train-variant.ts'
import type { VariantName } from './variants.ts'

export const root = new URL('..', import.meta.url).pathname

/** What the command is to run. */
export interface Plan {
  readonly kind: 'task' | 'grid' | 'stack'
  readonly isListed: boolean
  readonly task: TaskName
  readonly data: string
  readonly backbone: string
  readonly variants: readonly VariantName[]
  readonly seeds: readonly number[]
  readonly steps: number | undefined
  readonly tests: number | undefined
  readonly results: string
  readonly work: string
  readonly threads: number | undefined
}

/** Makes the runs of one task that have no result yet. */
export async function runTask({ task, data, seeds, results, ...plan }: Plan): Promise<void> {
  const backbone = await requireBackbone(plan.backbone)
  const work = join(plan.work, backbone.manifest.slug)
  const prepared = await prepareTask(tasks[task], { folder: data, backbone, tests: plan.tests })
  const steps = plan.steps ?? defaultSteps(Math.ceil(prepared.train.length / batch))
  const runs: readonly ExperimentRun[] = [
    { task, variant: 'untuned', seed: 0, steps: 0 },
    ...seeds.flatMap((seed) => plan.variants.map((variant) => ({ task, variant, seed, steps }))),
  ]
  using stop = stopRequest(() => process.exit(130))
  for (const run of runs) {
    if (stop.signal.aborted)
      throw new CliFailure('stopped', { remedy: 'the same command goes on from there' })
    const name = `${task}, ${run.variant}, seed ${run.seed}, ${run.steps} steps`
    if (isFinished(await readResults(results), identityOf(run, { backbone, header: prepared.header }))) {
      note(`${name}: finished before`)
      continue
    }
    note(name)
    using printer = linePrinter(note)
    const { onEvent } = printer
    const bench = { backbone, work, threads: plan.threads, signal: stop.signal, onEvent }
    const result = await runExperiment(run, { prepared, bench })
    await appendResult(results, result)
    if (results === join(root, resultsFile)) await writeReport(root)
    await dropCheckpoint({ name: nameOf(run) }, bench)
    print(`${name}: ${JSON.stringify(result.metrics)}`)
  }
}
