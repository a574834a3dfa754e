import { describeFailure } from '../cli/command/failure.ts'
import { note, print } from '../cli/command/output.ts'
import { requireBackbone } from '../cli/local/local-backbone.ts'
import { servingEncoder } from '../cli/tokenizer/serving-encoder.ts'
import { grid } from './grid.ts'
import { readTask } from './prepare.ts'
import { isFinished, type Result, readResults } from './result.ts'
import { batch, type ExperimentRun, identityOf } from './run.ts'
import { type Plan, runTask } from './run-task.ts'
import { tasks } from './tasks/tasks.ts'
import { inWords, secondsOf } from './time-left.ts'

/** Makes all runs of the grid that have no result yet, or lists them. */
export async function runGrid(plan: Plan): Promise<void> {
  const results = await readResults(plan.results)
  let total = 0
  for (const row of grid) {
    const { train } = await readTask(tasks[row.task], plan.data)
    const steps = row.epochs * Math.ceil(train.length / batch)
    const made = { ...plan, ...row, steps, tests: plan.tests }
    if (!plan.isListed) {
      await runTask(made)
      continue
    }
    const missing = await missingOf(made, results)
    const seconds = missing.map((run) => secondsOf({ ...run, backbone: row.backbone }, results))
    const known = seconds.every((each) => each !== undefined)
    const sum = seconds.reduce<number>((all, each) => all + (each ?? 0), 0)
    total += sum
    const names = missing.map(({ seed, variant }) => `${variant}/${seed}`).join(' ')
    print(
      `${row.backbone}, ${row.task}, ${row.part}: ${missing.length === 0 ? 'finished' : `${missing.length} missing${known ? `, about ${inWords(sum)}` : ''}: ${names}`}`,
    )
  }
  if (plan.isListed) print(`in all about ${inWords(total)} on a machine like that of the finished runs`)
}

/** The runs without a result. Those of a backbone that this machine cannot open count as missing. */
async function missingOf(
  { backbone: slug, seeds, steps = 0, task, variants }: Plan,
  results: readonly Result[],
) {
  const runs: readonly ExperimentRun[] = seeds.flatMap((seed) =>
    variants.map((variant) => ({ task, variant, seed, steps })),
  )
  const backbone = await requireBackbone(slug).catch((error: unknown) => {
    note(describeFailure(error))
    return undefined
  })
  if (backbone === undefined) return runs
  const header = (await servingEncoder(backbone)).generationHeader
  return runs.filter((run) => !isFinished(results, identityOf(run, { backbone, header })))
}
