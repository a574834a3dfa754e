import { join } from 'node:path'
import { note, print } from '../cli/command/output.ts'
import { requireBackbone } from '../cli/local/local-backbone.ts'
import { stopRequest } from '../cli/local/stop-request.ts'
import { linePrinter } from '../cli/training/progress.ts'
import { defaultSteps } from '../shared/training/job-size.ts'
import { prepareTask } from './prepare.ts'
import { resultsFile, writeReport } from './report.ts'
import { appendResult, isFinished, readResults } from './result.ts'
import { batch } from './run.ts'
import { type Plan, root } from './run-task.ts'
import { runStack, stackIdentity } from './stack.ts'
import { tasks } from './tasks/tasks.ts'

/** The pairs of tasks whose adapters are stacked. */
const stackedTasks = [
  ['trec', 'sst2'],
  ['trec', 'e2e'],
] as const

/** Measures each task of each pair with the rows of both. */
export async function runStacks({ data, seeds, results, ...plan }: Plan): Promise<void> {
  const backbone = await requireBackbone(plan.backbone)
  const work = join(plan.work, backbone.manifest.slug)
  using stop = stopRequest(() => process.exit(130))
  for (const seed of seeds)
    for (const pair of stackedTasks) {
      const [one, other] = await Promise.all(
        pair.map(async (task) => {
          const prepared = await prepareTask(tasks[task], { folder: data, backbone, tests: plan.tests })
          const steps = plan.steps ?? defaultSteps(Math.ceil(prepared.train.length / batch))
          return { task, prepared, steps }
        }),
      )
      if (one === undefined || other === undefined) continue
      for (const { prepared: measured, task } of [one, other])
        for (const parts of [[one, other] as const, [other, one] as const]) {
          const run = { parts, measured, task, seed }
          const identity = stackIdentity(run, { backbone })
          const name = `${task} with ${identity.variant}, seed ${seed}`
          if (isFinished(await readResults(results), identity)) {
            note(`${name}: finished before`)
            continue
          }
          note(name)
          using printer = linePrinter(note)
          const { onEvent } = printer
          const bench = { backbone, work, threads: plan.threads, signal: stop.signal, onEvent }
          const result = await runStack(run, bench)
          await appendResult(results, result)
          print(`${name}: ${JSON.stringify(result.metrics)}`)
        }
    }
  if (results === join(root, resultsFile)) await writeReport(root)
}
