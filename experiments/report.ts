import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { writeFileAtomically } from '../cli/local/atomic-file.ts'
import { type ReferenceRow, reference, referenceBackbone } from './reference.ts'
import { latest, type Result, readResults } from './result.ts'
import type { Score } from './tasks/task.ts'
import { isTaskName, type TaskName, tasks } from './tasks/tasks.ts'
import { isVariantName, variants } from './variants.ts'

/** Finished runs, one JSON line each, in the project's folder. */
export const resultsFile = 'docs/results/results.jsonl'

const begin = '<!-- rendered by `npm run experiment -- report` from docs/results/results.jsonl -->'
const end = '<!-- end of what is rendered -->'

/** Writes the tables of docs/results.md from the results beside it; the text around them stays. */
export async function writeReport(root: string): Promise<void> {
  const path = join(root, 'docs/results.md')
  const text = await readFile(path, 'utf8')
  const results = await readResults(join(root, resultsFile))
  await writeFileAtomically(path, { data: withTables(text, results), mode: 0o644 })
}

/** A document with the tables between its two marks made anew. Throws when it has no marks. */
export function withTables(document: string, results: readonly Result[]): string {
  const [before, rest] = document.split(`${begin}\n`)
  const after = rest?.split(`${end}\n`)[1]
  if (before === undefined || after === undefined)
    throw new Error(`the document has no lines “${begin}” and “${end}”`)
  return `${before}${begin}\n\n${resultTables(results)}\n${end}\n${after}`
}

export function resultTables(all: readonly Result[]): string {
  const results = latest(all)
  return Object.keys(tasks)
    .filter(isTaskName)
    .filter((task) => results.some((result) => result.task === task))
    .map((task) =>
      sectionOf(
        task,
        results.filter((result) => result.task === task),
      ),
    )
    .join('\n')
}

function sectionOf(task: TaskName, results: readonly Result[]): string {
  const { title, conditions, score } = tasks[task]
  const own = results.filter(({ backbone }) => backbone.slug === referenceBackbone)
  const tables = [
    ...(own.length === 0 ? [] : [tableOf(own, { score, references: referenceRows({ task, score }) })]),
    ...[...Map.groupBy(results, ({ backbone }) => backbone.slug)]
      .filter(([slug]) => slug !== referenceBackbone)
      .map(
        ([slug, ofBackbone]) =>
          `On ${slug}, measured on ${testedOf(ofBackbone)} held-out examples:\n\n${tableOf(ofBackbone, { score, references: [] })}`,
      ),
  ]
  return [`### ${title}`, '', `${conditions}.`, '', tables.join('\n\n'), ''].join('\n')
}

/** How many examples scores are of. */
function testedOf(results: readonly Result[]): number {
  return Math.max(...results.map(({ tested }) => Math.max(tested.likelihood, tested.labels, tested.answers)))
}

/** The runs of one task on one backbone. */
function tableOf(
  results: readonly Result[],
  { score, references }: { score: Score; references: readonly string[] },
): string {
  const groups = [...Map.groupBy(results, ({ variant, steps }) => `${variant} ${steps}`).values()]
  const order = ['untuned', ...Object.keys(variants)]
  const sorted = groups.toSorted(
    (a, b) => order.indexOf(a[0]?.variant ?? '') - order.indexOf(b[0]?.variant ?? ''),
  )
  return [
    `| model | ${titles[score]} | by seed | dev | ${titles[besides[score]]} | parameters | training |`,
    '|---|---|---|---|---|---|---|',
    ...sorted.map((runs) => measuredRow(runs, score)),
    ...references,
    ...choices(sorted, score),
  ].join('\n')
}

/** Which of the variants that differ in settings alone dev data choose: of one kind, placement and length of training. */
function choices(groups: readonly (readonly Result[])[], score: Score): readonly string[] {
  const comparable = Map.groupBy(
    groups.filter((runs) => runs.every(({ dev }) => dev?.metrics[score] !== undefined)),
    ([first]) => {
      const { kind, placement } = first?.adapter ?? {}
      // A stack has parts, and neither.
      return kind === undefined ? undefined : `${String(kind)}, ${String(placement)}, ${first?.steps} steps`
    },
  )
  const lines = [...comparable].flatMap(([name, alike]) => {
    const [best] = alike.toSorted((a, b) => sign[score] * (devMean(b, score) - devMean(a, score)))
    const [first] = best ?? []
    if (name === undefined || alike.length < 2 || best === undefined || first === undefined) return []
    const test = mean(best.map(({ metrics }) => metrics[score]?.value ?? Number.NaN))
    return [
      `Of ${alike.length} variants of ${name}, dev data choose *${nameOf(first)}*: ${written[score](devMean(best, score))} on ${first.dev?.examples} dev examples, ${written[score](test)} on test data.`,
    ]
  })
  return lines.length === 0 ? [] : ['', ...lines.flatMap((line, at) => (at === 0 ? [line] : ['', line]))]
}

const devMean = (runs: readonly Result[], score: Score) =>
  mean(runs.map(({ dev }) => dev?.metrics[score]?.value ?? Number.NaN))

/** 1 where more is better. */
const sign: { readonly [S in Score]: 1 | -1 } = { labelAccuracy: 1, loss: -1, bleu: 1, exactMatch: 1 }

function referenceRows({ task, score }: { task: TaskName; score: Score }): readonly string[] {
  return reference.flatMap((row) => referenceRow(row, { task, score }))
}

/** The score that is shown beside a task's own. */
const besides: { readonly [S in Score]: Score } = {
  labelAccuracy: 'loss',
  loss: 'bleu',
  bleu: 'loss',
  exactMatch: 'loss',
}
const titles: { readonly [S in Score]: string } = {
  labelAccuracy: 'accuracy %',
  loss: 'loss per token',
  bleu: 'BLEU',
  exactMatch: 'exact answers %',
}
const written: { readonly [S in Score]: (value: number) => string } = {
  labelAccuracy: (value) => (100 * value).toFixed(1),
  loss: (value) => value.toFixed(3),
  bleu: (value) => value.toFixed(1),
  exactMatch: (value) => (100 * value).toFixed(1),
}

/** The runs of one variant. */
function measuredRow(runs: readonly Result[], score: Score): string {
  const bySeed = runs.toSorted((a, b) => a.seed - b.seed)
  const [first] = bySeed
  if (first === undefined) return ''
  const scores = bySeed.map(({ metrics }) => metrics[score]?.value ?? Number.NaN)
  const half = mean(
    bySeed.map(
      ({ metrics }) => ((metrics[score]?.high ?? Number.NaN) - (metrics[score]?.low ?? Number.NaN)) / 2,
    ),
  )
  const other = besides[score]
  const others = bySeed.flatMap(({ metrics }) => metrics[other]?.value ?? [])
  const seeds = bySeed.map(({ seed }, at) => `${seed}: ${written[score](scores[at] ?? Number.NaN)}`)
  const isUntuned = first.variant === 'untuned'
  const cells = [
    nameOf(first),
    `${written[score](mean(scores))} ± ${written[score](half)}`,
    isUntuned ? '' : seeds.join(', '),
    bySeed.every(({ dev }) => dev?.metrics[score] !== undefined)
      ? written[score](devMean(bySeed, score))
      : '',
    others.length === 0 ? '' : written[other](mean(others)),
    isUntuned ? '' : thousands(first.parameters),
    isUntuned ? '' : trainingOf(bySeed),
  ]
  return `| ${cells.join(' | ')} |`
}

function nameOf({ variant }: Result): string {
  if (variant === 'untuned') return 'untuned, 8-bit weights'
  return isVariantName(variant) ? variants[variant].title : variant
}

function trainingOf(runs: readonly Result[]): string {
  const minutes = mean(runs.map(({ trainSeconds }) => trainSeconds)) / 60
  const speed = mean(runs.map(({ trainTokensPerSecond }) => trainTokensPerSecond))
  return `${runs[0]?.steps ?? 0} steps, ${minutes.toFixed(1)} min, ${speed.toFixed(0)} tok/s`
}

function referenceRow(
  { model, scores }: ReferenceRow,
  { task, score }: { task: TaskName; score: Score },
): readonly string[] {
  const values = scores[task]
  if (values === undefined) return []
  const digits = score === 'loss' ? 3 : 1
  const each =
    values.length > 1 ? values.map((value, seed) => `${seed}: ${value.toFixed(digits)}`).join(', ') : ''
  return [`| *reference:* ${model} | ${mean(values).toFixed(digits)} | ${each} | | | | |`]
}

function thousands(count: number): string {
  return count >= 1e6 ? `${(count / 1e6).toFixed(2)} M` : `${Math.round(count / 1e3)} k`
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length
}
