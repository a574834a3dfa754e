import { appendFile, readFile } from 'node:fs/promises'
import { z } from 'zod'
import { CliFailure, isSystemError } from '../cli/command/failure.ts'

const Estimate = z.strictObject({ value: z.number(), low: z.number(), high: z.number() })
const Metrics = z.partialRecord(
  z.enum(['loss', 'perplexity', 'exactMatch', 'labelAccuracy', 'bleu', 'rougeL']),
  Estimate,
)

/** One run: a line of the results file. Intervals are 95 %, over test examples. */
export const Result = z.strictObject({
  task: z.string(),
  /** `untuned` or a variant. */
  variant: z.string(),
  /** The seed of the training; 0 for the untuned backbone. */
  seed: z.int().min(0),
  /** Optimiser steps; 0 for the untuned backbone. */
  steps: z.int().min(0),
  /** The adapter's metadata and the trainer's settings; absent for the untuned backbone. */
  adapter: z.record(z.string(), z.unknown()).optional(),
  settings: z.record(z.string(), z.unknown()).optional(),
  parameters: z.int().min(0),
  /** The size of the adapter's file. */
  bytes: z.int().min(0),
  trained: z.int().min(0),
  tested: z.strictObject({ likelihood: z.int(), labels: z.int(), answers: z.int() }),
  /** Of the test data, which report. */
  metrics: Metrics,
  /** Of the dev data, which choose; absent where a task has none, and in runs from before there were any. */
  dev: z.strictObject({ examples: z.int().min(1), metrics: Metrics }).optional(),
  trainSeconds: z.number().min(0),
  /** Prompt and response tokens. */
  trainTokensPerSecond: z.number().min(0),
  evaluateSeconds: z.number().min(0),
  backbone: z.strictObject({ slug: z.string(), digest: z.string() }),
  versions: z.strictObject({ quartet: z.string(), onnxruntime: z.string(), node: z.string() }),
  cpu: z.string(),
})
export type Result = z.infer<typeof Result>

/** Every run so far; none where there is no file. Throws that names the line at fault. */
export async function readResults(path: string): Promise<readonly Result[]> {
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    if (isSystemError(error) && error.code === 'ENOENT') return ''
    throw error
  })
  return text.split('\n').flatMap((line, at) => {
    if (line.trim() === '') return []
    const parsed = JsonLine.pipe(Result).safeParse(line)
    if (parsed.success) return [parsed.data]
    throw new CliFailure(`${path}, line ${at + 1}: ${z.prettifyError(parsed.error)}`, {
      remedy: 'correct it or take it out',
    })
  })
}

const JsonLine = z.string().transform((line, context): unknown => {
  try {
    return JSON.parse(line)
  } catch {
    context.addIssue({ code: 'custom', message: 'it is not JSON' })
    return z.NEVER
  }
})

export async function appendResult(path: string, result: Result): Promise<void> {
  await appendFile(path, `${JSON.stringify(result)}\n`)
}

/** The identity of a run. A result counts only for the run with the same identity. */
export type RunIdentity = Pick<
  Result,
  'task' | 'variant' | 'seed' | 'steps' | 'adapter' | 'settings' | 'backbone'
>

const key = ({ adapter, backbone, seed, settings, steps, task, variant }: RunIdentity) =>
  JSON.stringify([task, variant, seed, steps, backbone.digest, sorted(adapter), sorted(settings)])

/** The value with its keys in order, at any depth. */
function sorted(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value
  return Object.fromEntries(
    Object.entries(value)
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, inner]) => [name, sorted(inner)]),
  )
}

/** Whether a run has been made with these very settings, on this backbone. */
export function isFinished(results: readonly Result[], run: RunIdentity): boolean {
  return results.some((result) => key(result) === key(run))
}

/** The last result of each task, backbone, variant, seed and number of steps: settings change, and a run is made again. */
export function latest(results: readonly Result[]): readonly Result[] {
  const name = ({ backbone, seed, steps, task, variant }: Result) =>
    JSON.stringify([task, backbone.slug, variant, seed, steps])
  return [...new Map(results.map((result) => [name(result), result])).values()]
}
