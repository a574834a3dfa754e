import { ignoredKeys, readDataset, requireExamples } from '../../training/data/dataset.ts'
import { evaluate, openEvaluationBackend } from '../../training/evaluation/evaluate.ts'
import { type MetricName, measuredParts, metricNames } from '../../training/evaluation/metrics.ts'
import { CliFailure } from '../command/failure.ts'
import { note } from '../command/output.ts'
import { assertNotRead, assertWritable } from '../command/output-file.ts'
import { progressPrinter } from '../command/progress.ts'
import { writeFileAtomically } from '../local/atomic-file.ts'
import { servingDecoder } from '../tokenizer/serving-decoder.ts'
import { assertPromptFormat, servingEncoder } from '../tokenizer/serving-encoder.ts'
import { backboneOf, readAdapters, untuned } from './candidates.ts'
import { readChoices } from './choices.ts'
import type { EvalOptions } from './options.ts'
import { answerLines, evaluationReport, labelLines, printEvaluation } from './report.ts'

/** Tokens that an answer may have beyond the longest response in the data. */
const spareTokens = 16

/** `quartet adapter eval`: adapter files and held-out examples in, a table of figures out. */
export async function runEvaluation(paths: readonly string[], options: EvalOptions): Promise<void> {
  const adapters = await readAdapters(paths)
  const labels = options.choices === undefined ? [] : await readChoices(options.choices)
  const metrics = metricsOf(options, labels)
  const backbone = await backboneOf(adapters)
  const promptRows = Math.max(...adapters.map(({ file }) => file.metadata.l_sp))
  assertPromptFormat(backbone, options.prompts)
  const encoder = await servingEncoder(backbone)
  const { contextLength } = backbone.manifest.config
  const reading = await readDataset(options.data, {
    encoder,
    prompts: options.prompts,
    room: contextLength - promptRows,
    readers: adapters.map(({ file }) => file.metadata),
  })
  const whole = requireExamples(reading, { least: 1 })
  const data = { ...whole, examples: whole.examples.slice(0, options.limit) }
  if (reading.ignored.size > 0) note(`${data.name}: ${ignoredKeys(reading.ignored)}`)
  const { examples } = data
  const longest = examples.reduce((most, { response }) => Math.max(most, response.length), 0)
  const maxTokens = options.maxTokens ?? longest + spareTokens
  const prompt = examples.reduce((most, { instruction }) => Math.max(most, instruction.length), 0)
  if (prompt + maxTokens + promptRows > contextLength)
    throw new CliFailure(
      `the longest prompt has ${prompt} tokens, and with ${promptRows} prompt rows the context has no room for answers of ${maxTokens}`,
      { remedy: `give --max-tokens ${Math.max(1, contextLength - promptRows - prompt)} or less` },
    )
  await assertOutputs(options, paths)
  warnOfTraining(adapters, data)

  const backend = await openEvaluationBackend(backbone, {
    examples,
    maxTokens,
    promptRows,
    threads: options.threads,
    prefillWeights: options.prefillWeights,
  })
  try {
    const candidates = [
      { name: untuned, adapter: undefined },
      ...adapters.map(({ name, file }) => ({ name, adapter: backend.loadAdapter(file) })),
    ]
    const decode = await servingDecoder(backbone)
    /** Labels as the data write them, white space around them included. */
    const spellings = new Map(examples.map(({ response }) => [decode(response).trim(), response]))
    using printer = progressPrinter()
    const results = await evaluate(candidates, {
      backend,
      examples,
      metrics,
      choices: labels.map((text) => ({ text, tokens: spellings.get(text) ?? encoder.answer(text) })),
      maxTokens,
      stopTokens: backbone.manifest.tokens.eos,
      decode,
      seed: options.seed,
      onProgress: ({ name, ...counts }) =>
        printer.onProgress({ type: 'progress', task: name, unit: 'examples', ...counts }),
    })
    const report = evaluationReport(results, {
      adapters,
      backbone,
      data,
      labels,
      maxTokens,
      seed: options.seed,
    })
    // Before any file is written, which may fail.
    printEvaluation(report)
    if (options.json !== undefined)
      await writeFileAtomically(options.json, { data: `${JSON.stringify(report, null, 2)}\n`, mode: 0o644 })
    if (options.labels !== undefined)
      await writeFileAtomically(options.labels, { data: labelLines(results), mode: 0o644 })
    if (options.answers !== undefined)
      await writeFileAtomically(options.answers, { data: answerLines(results), mode: 0o644 })
  } finally {
    await backend.close()
  }
}

/** The metrics that are asked for, or all that can be measured. Throws for files that they leave nothing to write to. */
function metricsOf(
  { answers, labels: labelsFile, metrics }: EvalOptions,
  labels: readonly string[],
): readonly MetricName[] {
  const chosen = metrics ?? metricNames.filter((metric) => metric !== 'labelAccuracy' || labels.length > 0)
  const parts = new Set(chosen.map((metric) => measuredParts[metric]))
  const needs = (what: string, remedy: string) => {
    throw new CliFailure(what, { remedy })
  }
  if (parts.has('labels') && labels.length === 0)
    needs('label-accuracy needs labels to choose from', 'give --choices')
  if (labelsFile !== undefined && !parts.has('labels'))
    needs('--labels has nothing to write', 'give --choices, and label-accuracy among --metrics')
  if (answers !== undefined && !parts.has('answers'))
    needs('--answers has nothing to write', 'add exact-match to --metrics, or leave --answers out')
  return chosen
}

/** Throws where a file cannot be written, or would be written over one that is read or written as well. */
async function assertOutputs(
  { answers, choices, data, json, labels }: EvalOptions,
  adapters: readonly string[],
): Promise<void> {
  const taken: (string | undefined)[] = [data, choices, ...adapters]
  for (const [option, path] of [
    ['--json', json],
    ['--labels', labels],
    ['--answers', answers],
  ] as const) {
    if (path === undefined) continue
    assertNotRead({ option, path }, taken)
    taken.push(path)
    await assertWritable({ option, path })
  }
}

/** Figures on what an adapter has seen say nothing. */
function warnOfTraining(
  adapters: Awaited<ReturnType<typeof readAdapters>>,
  { name, sha256 }: { name: string; sha256: string },
): void {
  for (const { path, file } of adapters)
    for (const [key, says] of [
      ['train.data', 'was trained on'],
      ['train.dev', 'was chosen by its loss on'],
    ] as const)
      if (file.provenance[key] === sha256) note(`${path} ${says} ${name}: its figures are too good`)
}
