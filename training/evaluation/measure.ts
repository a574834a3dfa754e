import type { LoadedAdapter } from '../../model/runtime/backend.ts'
import { QuartetError } from '../../shared/errors.ts'
import type { Example } from '../data/example.ts'
import { idsKey } from '../data/survey.ts'
import { greedyAnswer } from './greedy-answer.ts'
import { likeliestChoice } from './likeliest-choice.ts'
import { type Read, readPrompts } from './read-prompts.ts'
import { responseLikelihood } from './response-likelihood.ts'
import type { ServedModel } from './served-model.ts'

/** A model's results on held-out examples, one entry per example or prompt, before anything is averaged. */
export interface Measurements {
  readonly likelihoods: readonly ResponseLikelihood[]
  readonly answers: readonly GreedyAnswer[]
  readonly labels: readonly Label[]
}

interface ResponseLikelihood {
  /** log p of the whole response. */
  readonly logLikelihood: number
  readonly tokens: number
}

/** A greedy answer to a prompt, and every response that the examples give to it. */
interface GreedyAnswer {
  readonly prompt: string
  readonly output: string
  readonly references: readonly string[]
}

export interface Label {
  readonly prompt: string
  readonly chosen: string
  readonly expected: string
}

/** A response that is one of several. */
export interface Alternative {
  readonly text: string
  /** The tokens, with the one that ends it. */
  readonly tokens: readonly number[]
}

export type MeasuredPart = 'likelihood' | 'answers' | 'labels'

export interface MeasureOptions {
  readonly backend: ServedModel['backend']
  readonly examples: readonly Example[]
  /** The measurements to make. */
  readonly parts: ReadonlySet<MeasuredPart>
  /** Labels are measured over these. */
  readonly choices: readonly Alternative[]
  /** Tokens of a greedy answer at most. */
  readonly maxTokens: number
  readonly stopTokens: readonly number[]
  /** Token ids without control tokens as text. */
  readonly decode: (ids: readonly number[]) => string
}

/** Prompts of one model that have been measured. */
export interface MeasureProgress {
  readonly done: number
  readonly total: number
}

/** The measurements behind one prompt. */
interface PromptMeasurement {
  /** Likelihood of each response, in the order of the prompt's examples. */
  readonly likelihoods: readonly number[]
  /** Index of the likeliest choice. */
  readonly choice: number | undefined
  readonly answer: readonly number[]
}

/**
 * Measures one model on held-out examples through the backend that serves it, so that rows, weights and prompts are
 * those that a request gets. Every prompt is read once, and its cache serves all that is measured behind it; prompts run
 * in batches. Throws `training_data_invalid` where a response is none of the choices.
 */
export async function measure(
  options: MeasureOptions,
  {
    adapter,
    onProgress,
  }: { adapter: LoadedAdapter | undefined; onProgress?: ((progress: MeasureProgress) => void) | undefined },
): Promise<Measurements> {
  const { backend, choices, decode, examples, parts } = options
  const expected = parts.has('labels') ? examples.map((example) => expectedLabel(example, options)) : []
  const promptKey = ({ instruction, tail, turn = 0 }: Example) => `${turn}:${tail}:${idsKey(instruction)}`
  const groups = [...Map.groupBy(examples, promptKey).values()]
  const room = roomOf(options)
  let done = 0
  const measured = await readPrompts(
    { backend, adapter },
    groups.map((group) => ({
      instruction: group[0]?.instruction ?? [],
      turn: group[0]?.turn,
      tail: group[0]?.tail,
      room,
      reader: (next) => measurePrompt(next, { ...options, group }),
    })),
    { onRead: () => onProgress?.({ done: ++done, total: groups.length }) },
  )
  const ofExample = new Map<Example, { measurement: PromptMeasurement; at: number }>()
  for (const [index, measurement] of measured.entries())
    for (const [at, example] of (groups[index] ?? []).entries()) ofExample.set(example, { measurement, at })
  return {
    likelihoods: parts.has('likelihood')
      ? examples.map((example) => {
          const { measurement, at } = ofExample.get(example) ?? {}
          return {
            logLikelihood: measurement?.likelihoods[at ?? 0] ?? Number.NaN,
            tokens: example.response.length,
          }
        })
      : [],
    labels: expected.map((label, at) => {
      const example = examples[at]
      const choice = example && ofExample.get(example)?.measurement.choice
      return {
        prompt: decode(example?.instruction ?? []),
        chosen: choices[choice ?? -1]?.text ?? '',
        expected: label,
      }
    }),
    answers: parts.has('answers')
      ? measured.map(({ answer }, index) => ({
          prompt: decode(groups[index]?.[0]?.instruction ?? []),
          output: decode(answer).trim(),
          references: (groups[index] ?? []).map(({ response }) => decode(response).trim()),
        }))
      : [],
  }
}

function* measurePrompt(
  next: Float32Array,
  {
    choices,
    group,
    maxTokens,
    parts,
    stopTokens,
  }: Pick<MeasureOptions, 'choices' | 'maxTokens' | 'parts' | 'stopTokens'> & {
    /** The examples of the prompt. */
    readonly group: readonly Example[]
  },
): Generator<Read, PromptMeasurement, void> {
  const likelihoods: number[] = []
  if (parts.has('likelihood'))
    for (const { response } of group) likelihoods.push(yield* responseLikelihood(next, response))
  const choice = parts.has('labels')
    ? yield* likeliestChoice(
        next,
        choices.map(({ tokens }) => tokens),
      )
    : undefined
  const answer = parts.has('answers') ? yield* greedyAnswer(next, { maxTokens, stopTokens }) : []
  return { likelihoods, choice, answer }
}

/** The most tokens that are read behind a prompt. */
function roomOf({ choices, examples, maxTokens, parts }: MeasureOptions): number {
  const lengths = [
    ...(parts.has('likelihood') ? examples.map(({ response }) => response.length) : []),
    ...(parts.has('labels') ? choices.map(({ tokens }) => tokens.length) : []),
    ...(parts.has('answers') ? [maxTokens] : []),
  ]
  return lengths.reduce((most, length) => Math.max(most, length), 0)
}

function expectedLabel(
  { response }: Example,
  { choices, decode }: Pick<MeasureOptions, 'choices' | 'decode'>,
): string {
  const text = decode(response).trim()
  if (choices.some((choice) => choice.text === text)) return text
  throw new QuartetError(
    'training_data_invalid',
    `the response “${text}” is none of the ${choices.length} choices; add it to --choices`,
    { param: 'choices' },
  )
}
