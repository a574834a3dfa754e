import { createHash } from 'node:crypto'
import { readFile, stat } from 'node:fs/promises'
import { setImmediate } from 'node:timers/promises'
import { maxFileBytes } from '../../shared/api/files.ts'
import { QuartetError } from '../../shared/errors.ts'
import {
  encodeRow,
  type LengthLimits,
  lengthProblem,
  type PromptEncoder,
  type PromptFormat,
  placesOfRow,
} from '../../shared/training/prompt-encoder.ts'
import { parseRow, type Row } from '../../shared/training/row.ts'
import { lengthOf } from './batches.ts'
import type { Example } from './example.ts'
import { invalidFile, type JsonLine, type LineProblem, parseJsonl } from './jsonl.ts'

export interface EncodeOptions extends LengthLimits {
  readonly encoder: PromptEncoder
  readonly prompts: PromptFormat
}

/** An example and the line it is from: a conversation has one for each answer that is learned. */
export interface FileExample extends Example {
  readonly line: number
}

/** A file of examples in token ids. */
export interface Dataset {
  readonly name: string
  /** The hash of the file's bytes. */
  readonly sha256: string
  readonly examples: readonly FileExample[]
}

export interface Reading {
  readonly dataset: Dataset
  /** Lines that hold no example, in order. */
  readonly problems: readonly LineProblem[]
  /** Keys that are not read, and on how many lines each stands. */
  readonly ignored: ReadonlyMap<string, number>
}

/** The keys that were not read, in words. */
export function ignoredKeys(ignored: Reading['ignored']): string {
  const keys = Array.from(
    ignored,
    ([key, lines]) => `${key} (on ${lines === 1 ? 'one line' : `${lines} lines`})`,
  )
  return `not read: ${keys.join(', ')}`
}

/** Reads a JSONL file of examples. Throws `training_data_invalid` for one that holds nothing to read. */
export async function readDataset(path: string, options: EncodeOptions): Promise<Reading> {
  const found = await stat(path)
  if (found.isDirectory()) throw invalidFile(path, 'it is a folder; name a JSONL file in it')
  const { size } = found
  if (size > maxFileBytes)
    throw invalidFile(
      path,
      `it has ${size} bytes; at most ${maxFileBytes} are read, so train on a part of it`,
    )
  return parseDataset(await readFile(path), { name: path, ...options })
}

type NamedOptions = EncodeOptions & { readonly name: string }

/** Throws `training_data_invalid`. */
export function parseDataset(file: Uint8Array, options: NamedOptions): Reading {
  const steps = readSteps(file, options)
  for (;;) {
    const step = steps.next()
    if (step.done === true) return step.value
  }
}

/** The tokens that are made without a break. */
const turnTokens = 16 * 1024

/** `parseDataset` whose process does other work in between, as a trainer that must report. */
export async function parseDatasetInTurns(file: Uint8Array, options: NamedOptions): Promise<Reading> {
  const steps = readSteps(file, options)
  let sinceTurn = 0
  for (;;) {
    const step = steps.next()
    if (step.done === true) return step.value
    sinceTurn += step.value
    if (sinceTurn < turnTokens) continue
    sinceTurn = 0
    await setImmediate()
  }
}

/** Yields how many tokens it has made of each example. */
function* readSteps(file: Uint8Array, { name, ...options }: NamedOptions): Generator<number, Reading, void> {
  const { values, problems } = parseJsonl(file, name)
  if (values.length === 0 && problems.length === 0)
    throw invalidFile(name, 'it is empty; write one JSON object per line')
  const examples: FileExample[] = []
  const found = [...problems]
  const ignored = new Map<string, number>()
  for (const { line, value } of values) {
    const read = yield* readExamples(value, options)
    if ('problem' in read) {
      found.push({ line, problem: read.problem })
      continue
    }
    examples.push(...read.examples.map((example) => ({ ...example, line })))
    for (const key of read.ignored) ignored.set(key, (ignored.get(key) ?? 0) + 1)
  }
  const sha256 = createHash('sha256').update(file).digest('hex')
  return { dataset: { name, sha256, examples }, problems: found.toSorted((a, b) => a.line - b.line), ignored }
}

/** Throws `training_data_invalid` that names the first line at fault and how many more there are. `listing`: what lists them. */
export function requireExamples(
  { dataset, problems }: Reading,
  { least, listing }: { readonly least: number; readonly listing?: string },
): Dataset {
  const [first] = problems
  const { name, examples } = dataset
  if (first !== undefined) {
    const listed = listing === undefined ? '' : `; ${listing} lists them`
    const more = problems.length > 1 ? ` (and ${problems.length - 1} more${listed})` : ''
    throw new QuartetError('training_data_invalid', `${name}, line ${first.line}: ${first.problem}${more}`)
  }
  if (examples.length < least)
    throw invalidFile(
      name,
      `it has ${examples.length === 1 ? 'one example' : `${examples.length} examples`}; at least ${least} are needed, and some fifty before an adapter learns a task`,
    )
  return dataset
}

function* readExamples(
  value: JsonLine['value'],
  options: EncodeOptions,
): Generator<
  number,
  { examples: readonly Example[]; ignored: readonly string[] } | { problem: string },
  void
> {
  const parsed = parseRow(value)
  if ('problem' in parsed) return parsed
  const examples: Example[] = []
  for (const row of parsed.rows) {
    const read = readExample(row, options)
    if ('problem' in read) return read
    examples.push(read)
    yield lengthOf(read)
  }
  return { examples, ignored: parsed.ignored }
}

function readExample(row: Row, options: EncodeOptions): Example | { problem: string } {
  try {
    const { instruction, response } = encodeRow(row, options)
    const example = { instruction, response, ...placesOfRow(row, { ...options, ids: instruction }) }
    const problem = lengthProblem(example, options)
    return problem === undefined ? example : { problem }
  } catch (error) {
    if (error instanceof QuartetError) return { problem: error.message }
    throw error
  }
}
