import type { LoadedAdapter } from '../../model/runtime/backend.ts'
import type { OnnxBackend } from '../../model/runtime/onnx-backend.ts'
import { QuartetError } from '../../shared/errors.ts'
import type { Example } from '../data/example.ts'
import { idsKey } from '../data/survey.ts'
import { type GreedyOptions, greedyAnswers } from './greedy-answers.ts'
import { likeliestChoice } from './likeliest-choice.ts'
import { responseLogLikelihood } from './response-likelihood.ts'
import type { ServedModel } from './served-model.ts'

/** What a model made of held-out examples, one entry per example or prompt, before anything is averaged. */
export interface Measurements {
  readonly likelihoods: readonly ResponseLikelihood[]
  readonly answers: readonly Answer[]
  readonly labels: readonly Label[]
}

export interface ResponseLikelihood {
  /** log p of the whole response. */
  readonly logLikelihood: number
  readonly tokens: number
}

/** A greedy answer to a prompt, and every response that the examples give to it. */
export interface Answer {
  readonly prompt: string
  readonly output: string
  readonly references: readonly string[]
}

export interface Label {
  readonly chosen: string
  readonly expected: string
}

/** A response that is one of several. */
export interface Choice {
  readonly text: string
  /** With the token that ends it. */
  readonly tokens: readonly number[]
}

export type MeasuredPart = 'likelihood' | 'answers' | 'labels'

export interface MeasureOptions {
  readonly backend: OnnxBackend
  readonly examples: readonly Example[]
  /** What to measure. */
  readonly parts: ReadonlySet<MeasuredPart>
  /** Labels are measured over these. */
  readonly choices: readonly Choice[]
  /** Of a greedy answer. */
  readonly maxTokens: number
  readonly stopTokens: readonly number[]
  /** Token ids without control tokens as text. */
  readonly decode: (ids: readonly number[]) => string
}

/** Of one model: examples and prompts, each counted once for every part that is measured on it. */
export interface MeasureProgress {
  readonly done: number
  readonly total: number
}

/**
 * Measures one model on held-out examples through the backend that serves it, so that rows, weights and prompts are
 * those that a request gets. Throws `training_data_invalid` where a response is none of the choices.
 */
export async function measure(
  options: MeasureOptions,
  {
    adapter,
    onProgress,
  }: { adapter: LoadedAdapter | undefined; onProgress?: ((progress: MeasureProgress) => void) | undefined },
): Promise<Measurements> {
  const { backend, examples, parts } = options
  const model = { backend, adapter }
  const prompts = [...Map.groupBy(examples, ({ instruction }) => idsKey(instruction)).values()]
  const sizes = { likelihood: examples.length, labels: examples.length, answers: prompts.length }
  const expected = parts.has('labels') ? examples.map((example) => expectedLabel(example, options)) : []
  const total = [...parts].reduce((sum, part) => sum + sizes[part], 0)
  let done = 0
  const count = () => onProgress?.({ done: ++done, total })
  return {
    likelihoods: parts.has('likelihood') ? await measureLikelihoods(model, { examples, count }) : [],
    labels: parts.has('labels') ? await measureLabels(model, { ...options, expected, count }) : [],
    answers: parts.has('answers')
      ? await measureAnswers({ ...options, adapter, prompts, onAnswer: count })
      : [],
  }
}

async function measureLikelihoods(
  model: ServedModel,
  { examples, count }: { examples: readonly Example[]; count: () => void },
): Promise<readonly ResponseLikelihood[]> {
  const likelihoods: ResponseLikelihood[] = []
  for (const example of examples) {
    const logLikelihood = await responseLogLikelihood(model, example)
    likelihoods.push({ logLikelihood, tokens: example.response.length })
    count()
  }
  return likelihoods
}

async function measureLabels(
  model: ServedModel,
  {
    examples,
    choices,
    expected,
    count,
  }: Pick<MeasureOptions, 'examples' | 'choices'> & { expected: readonly string[]; count: () => void },
): Promise<readonly Label[]> {
  const tokens = choices.map((choice) => choice.tokens)
  const labels: Label[] = []
  for (const [at, { instruction }] of examples.entries()) {
    const chosen = choices[await likeliestChoice(model, { instruction, choices: tokens })]
    labels.push({ chosen: chosen?.text ?? '', expected: expected[at] ?? '' })
    count()
  }
  return labels
}

/** `prompts`: the examples of each prompt. */
async function measureAnswers({
  prompts,
  ...options
}: Omit<GreedyOptions, 'prompts'> &
  Pick<MeasureOptions, 'decode'> & { readonly prompts: readonly (readonly Example[])[] }): Promise<
  readonly Answer[]
> {
  const { decode } = options
  const instructions = prompts.map(([first]) => first?.instruction ?? [])
  const answers = await greedyAnswers({ ...options, prompts: instructions })
  return answers.map((ids, at) => ({
    prompt: decode(instructions[at] ?? []),
    output: decode(ids).trim(),
    references: (prompts[at] ?? []).map(({ response }) => decode(response).trim()),
  }))
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
