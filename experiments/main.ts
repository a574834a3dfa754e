import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { CliFailure, describeFailure } from '../cli/command/failure.ts'
import { note, print } from '../cli/command/output.ts'
import { defaultBackbone } from '../cli/command/settings.ts'
import { requireBackbone } from '../cli/local/local-backbone.ts'
import { stopRequest } from '../cli/local/stop-request.ts'
import { linePrinter } from '../cli/training/progress.ts'
import { defaultSteps } from '../shared/training/job-size.ts'
import { prepareTask } from './prepare.ts'
import { resultsFile, resultTables, writeReport } from './report.ts'
import { appendResult, isFinished, readResults } from './result.ts'
import { batch, type ExperimentRun, identityOf, nameOf, runExperiment } from './run.ts'
import { isTaskName, type TaskName, tasks } from './tasks/tasks.ts'
import { dropCheckpoint } from './train-variant.ts'
import { isVariantName, type VariantName, variants } from './variants.ts'

const root = new URL('..', import.meta.url).pathname
const usage = `usage: npm run experiment -- NAME --data FOLDER [options]
       npm run experiment -- report [--results FILE]

  NAME             ${Object.keys(tasks).join(', ')}
  --data FOLDER    the folder with the data sets, each in a folder of its own (of orders: demo)
  --backbone SLUG  one on this machine (default: ${defaultBackbone})
  --kind A,B       ${Object.keys(variants).join(', ')} (default: iapt,static-4,static-20,idpg,lpt)
  --seeds 0,1,2    (default: 0)
  --steps N        of ${batch} examples (default: as adapter train: one epoch, or 100 where it has fewer)
  --tests N        measure the first N held-out examples alone (default: all of the task)
  --results FILE   where finished runs are kept, one JSON line each (default: ${resultsFile})
  --work FOLDER    where checkpoints and adapters are kept (default: .quartet/experiments)

A run that stands in the results file with the same settings and backbone is skipped: to make one again, name another
--results FILE. Interrupted runs go on. With the results file of the project, every run and report write the tables of
docs/results.md anew; report prints those of another file.`

interface Plan {
  readonly task: TaskName
  readonly data: string
  readonly backbone: string
  readonly variants: readonly VariantName[]
  readonly seeds: readonly number[]
  readonly steps: number | undefined
  readonly tests: number | undefined
  readonly results: string
  readonly work: string
}

const defaultVariants = 'iapt,static-4,static-20,idpg,lpt'

/** Undefined where the arguments do not say what to do. */
function planOf(): Plan | Pick<Plan, 'results'> | undefined {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      data: { type: 'string' },
      backbone: { type: 'string', default: defaultBackbone },
      kind: { type: 'string', default: defaultVariants },
      seeds: { type: 'string', default: '0' },
      steps: { type: 'string' },
      tests: { type: 'string' },
      results: { type: 'string', default: join(root, resultsFile) },
      work: { type: 'string', default: join(root, '.quartet/experiments') },
    },
  })
  const [name = ''] = positionals
  const results = resolve(values.results)
  if (name === 'report') return { results }
  if (!isTaskName(name) || values.data === undefined) return undefined
  return {
    task: name,
    data: values.data,
    backbone: values.backbone,
    variants: values.kind.split(',').map((kind) => {
      if (isVariantName(kind)) return kind
      throw new CliFailure(`--kind ${kind} is none of ${Object.keys(variants).join(', ')}`)
    }),
    seeds: values.seeds.split(',').map((seed) => wholeNumber('--seeds', seed)),
    steps: values.steps === undefined ? undefined : wholeNumber('--steps', values.steps),
    tests: values.tests === undefined ? undefined : wholeNumber('--tests', values.tests),
    results,
    work: resolve(values.work),
  }
}

function wholeNumber(option: string, text: string): number {
  if (/^[0-9]{1,9}$/.test(text)) return Number(text)
  throw new CliFailure(`${option} ${text} is not a whole number`)
}

async function runPlan({ task, data, seeds, results, ...plan }: Plan): Promise<void> {
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
    const bench = { backbone, work, signal: stop.signal, onEvent }
    const result = await runExperiment(run, { prepared, bench })
    await appendResult(results, result)
    if (results === join(root, resultsFile)) await writeReport(root)
    await dropCheckpoint({ name: nameOf(run) }, bench)
    print(`${name}: ${JSON.stringify(result.metrics)}`)
  }
}

try {
  const plan = planOf()
  if (plan === undefined) {
    note(usage)
    process.exitCode = 1
  } else if ('task' in plan) await runPlan(plan)
  else if (plan.results === join(root, resultsFile)) await writeReport(root)
  else print(resultTables(await readResults(plan.results)))
} catch (error) {
  note(`experiment: ${describeFailure(error)}`)
  process.exitCode = 1
}
