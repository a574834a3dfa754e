import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { CliFailure, describeFailure } from '../cli/command/failure.ts'
import { note, print } from '../cli/command/output.ts'
import { defaultBackbone } from '../cli/command/settings.ts'
import { resultsFile, resultTables, writeReport } from './report.ts'
import { readResults } from './result.ts'
import { batch } from './run.ts'
import { runGrid } from './run-grid.ts'
import { runStacks } from './run-stacks.ts'
import { type Plan, root, runTask } from './run-task.ts'
import { isTaskName, tasks } from './tasks/tasks.ts'
import { isVariantName, variants } from './variants.ts'

const usage = `usage: npm run experiment -- NAME --data FOLDER [options]
       npm run experiment -- grid --data FOLDER [--list] [options]
       npm run experiment -- stack --data FOLDER [options]
       npm run experiment -- report [--results FILE]

  NAME             ${Object.keys(tasks).join(', ')}
  grid             all runs by which late rows are judged; with --list, which of them are missing and about how long they take
  stack            late adapters of two tasks in one prompt, either in front: what becomes of both tasks (TREC with SST-2, TREC
                   with E2E)
  --data FOLDER    the folder with the data sets, each in a folder of its own (of orders: demo)
  --backbone SLUG  one on this machine (default: ${defaultBackbone})
  --kind A,B       ${Object.keys(variants).join(', ')} (default: iapt,static-4,static-20,idpg,lpt)
  --seeds 0,1,2    (default: 0)
  --steps N        of ${batch} examples (default: as adapter train: one epoch, or 100 where it has fewer)
  --tests N        measure the first N held-out examples alone (default: all of the task)
  --results FILE   where finished runs are kept, one JSON line each (default: ${resultsFile})
  --work FOLDER    where checkpoints and adapters are kept (default: .quartet/experiments)
  --threads N      that share the work of an operator (default: one per core). Two runs of one thread each, at the same time and
                   with a results file of their own each, are quicker than one after the other

A run that stands in the results file with the same settings and backbone is skipped: to make one again, name another
--results FILE. Interrupted runs go on. With the results file of the project, every run and report write the tables of
docs/results.md anew; report prints those of another file.`

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
      list: { type: 'boolean', default: false },
      results: { type: 'string', default: join(root, resultsFile) },
      work: { type: 'string', default: join(root, '.quartet/experiments') },
      threads: { type: 'string' },
    },
  })
  const [name = ''] = positionals
  const results = resolve(values.results)
  if (name === 'report') return { results }
  const kind = name === 'grid' || name === 'stack' ? name : 'task'
  const task = kind === 'task' ? name : 'trec'
  if (!isTaskName(task) || values.data === undefined) return undefined
  return {
    kind,
    isListed: values.list,
    task,
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
    threads: values.threads === undefined ? undefined : wholeNumber('--threads', values.threads),
  }
}

function wholeNumber(option: string, text: string): number {
  if (/^[0-9]{1,9}$/.test(text)) return Number(text)
  throw new CliFailure(`${option} ${text} is not a whole number`)
}

try {
  const plan = planOf()
  if (plan === undefined) {
    note(usage)
    process.exitCode = 1
  } else if ('task' in plan) {
    const run = { task: runTask, grid: runGrid, stack: runStacks }[plan.kind]
    await run(plan)
  } else if (plan.results === join(root, resultsFile)) await writeReport(root)
  else print(resultTables(await readResults(plan.results)))
} catch (error) {
  note(`experiment: ${describeFailure(error)}`)
  process.exitCode = 1
}
