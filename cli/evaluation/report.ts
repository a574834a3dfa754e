import type { Backbone } from '../../model/backbone/backbone-folder.ts'
import type { Dataset } from '../../training/data/dataset.ts'
import type { Evaluated } from '../../training/evaluation/evaluate.ts'
import type { Estimate } from '../../training/evaluation/interval.ts'
import { type LabelReport, labelReport } from '../../training/evaluation/labels.ts'
import { type MetricName, metricNames } from '../../training/evaluation/metrics.ts'
import { note, print, printTable } from '../command/output.ts'
import type { NamedAdapter } from './candidates.ts'

/** The JSON document that `--json` writes. Intervals are 95 %. */
export interface EvaluationReport {
  readonly backbone: { readonly slug: string; readonly digest: string }
  readonly data: { readonly name: string; readonly sha256: string; readonly examples: number }
  readonly settings: {
    readonly maxTokens: number
    readonly choices: readonly string[]
    readonly seed: number
  }
  readonly models: readonly {
    readonly name: string
    /** Absent for the untuned backbone. */
    readonly digest?: string
    readonly kind?: string
    readonly seconds: number
    readonly metrics: Evaluated['metrics']
    /** Present with `--choices`. */
    readonly labels?: LabelReport
  }[]
}

interface Evaluation {
  readonly adapters: readonly NamedAdapter[]
  readonly backbone: Backbone
  readonly data: Dataset
  readonly labels: readonly string[]
  readonly maxTokens: number
  readonly seed: number
}

export function evaluationReport(
  results: readonly Evaluated[],
  { adapters, backbone: { manifest }, data, labels, maxTokens, seed }: Evaluation,
): EvaluationReport {
  const { name, sha256, examples } = data
  return {
    backbone: { slug: manifest.slug, digest: manifest.digest },
    data: { name, sha256, examples: examples.length },
    settings: { maxTokens, choices: labels, seed },
    models: results.map((result) => {
      const adapter = adapters.find((candidate) => candidate.name === result.name)
      return {
        name: result.name,
        ...(adapter && { digest: adapter.digest, kind: adapter.file.metadata.kind }),
        seconds: result.seconds,
        metrics: result.metrics,
        ...(result.measurements.labels.length > 0
          ? { labels: labelReport(result.measurements.labels, labels) }
          : {}),
      }
    }),
  }
}

const percent = (share: number) => (100 * share).toFixed(1)

/** How each metric is called and written. */
const rows: { readonly [M in MetricName]: readonly [title: string, write: (value: number) => string] } = {
  loss: ['loss per token', (value) => value.toFixed(3)],
  perplexity: ['perplexity', (value) => (value < 1000 ? value.toFixed(2) : value.toPrecision(3))],
  exactMatch: ['exact match %', percent],
  labelAccuracy: ['label accuracy %', percent],
  bleu: ['BLEU', (value) => value.toFixed(1)],
  rougeL: ['ROUGE-L %', percent],
}

export function printEvaluation({ data, models }: EvaluationReport): void {
  printTable(
    ['metric', ...models.map(({ name }) => name)],
    metricNames
      .filter((metric) => models.some(({ metrics }) => metrics[metric] !== undefined))
      .map((metric) => [
        rows[metric][0],
        ...models.map(({ metrics }) => cell(metrics[metric], rows[metric][1])),
      ]),
  )
  for (const { labels, name } of models) if (labels !== undefined) printLabels(name, labels)
  note(`${data.examples} examples of ${data.name}; in brackets 95 % intervals`)
}

/** Beyond these a table is too long, or too wide, to be read; `--json` has all. */
const shownLabels = 100
const shownConfusion = 12

function printLabels(model: string, { confusion, labels, macroF1 }: LabelReport): void {
  const met = labels.filter(({ chosen, examples }) => chosen + examples > 0)
  const orDash = (share: number | undefined) => (share === undefined ? '–' : percent(share))
  print('')
  printTable(
    [`label, ${model}`, 'examples', 'chosen', 'precision %', 'recall %', 'F1 %'],
    met
      .slice(0, shownLabels)
      .map(({ chosen, examples, f1, label, precision, recall }) => [
        label,
        String(examples),
        String(chosen),
        orDash(precision),
        orDash(recall),
        percent(f1),
      ]),
  )
  print(`macro F1 ${percent(macroF1)} %`)
  if (labels.length > shownConfusion) return
  printTable(
    ['expected \\ chosen', ...labels.map(({ label }) => label)],
    labels.map(({ label }, at) => [label, ...(confusion[at] ?? []).map(String)]),
  )
}

function cell(estimate: Estimate | undefined, write: (value: number) => string): string {
  if (estimate === undefined) return '–'
  return `${write(estimate.value)} (${write(estimate.low)} to ${write(estimate.high)})`
}

/** One line per prompt: the prompt as the template writes it, its references and what every model answered. */
export function answerLines(results: readonly Evaluated[]): string {
  const [first] = results
  const lines = (first?.measurements.answers ?? []).map(({ prompt, references }, at) => {
    const outputs = results.map(({ name, measurements }) => [name, measurements.answers[at]?.output])
    return JSON.stringify({ prompt, references, ...Object.fromEntries(outputs) })
  })
  return lines.map((line) => `${line}\n`).join('')
}

/** One line per example: the prompt, the label that is right and the one that every model chose. */
export function labelLines(results: readonly Evaluated[]): string {
  const [first] = results
  const lines = (first?.measurements.labels ?? []).map(({ prompt, expected }, at) => {
    const chosen = results.map(({ name, measurements }) => [name, measurements.labels[at]?.chosen])
    return JSON.stringify({ prompt, expected, ...Object.fromEntries(chosen) })
  })
  return lines.map((line) => `${line}\n`).join('')
}
