import { z } from 'zod'
import { maxStacked } from '../wire.ts'
import { toOneBeyond } from './long-input.ts'
import { unsupportedParameter } from './parse.ts'

/**
 * Parameters that `/v1/chat/completions` and `/v1/completions` have in common. `null` means "as if absent", as at
 * OpenAI.
 */

export const maxChoices = 16
/** Choices of all prompts of one request together. */
export const maxChoicesInAll = 128
export const maxStopStrings = 4
export const maxStopLength = 512
const maxStopTokenIds = 32
const maxBadWords = 64
const maxBadWordLength = 128

/** Text that has a UTF-8 encoding. */
export const Text = z
  .string()
  .refine((text) => text.isWellFormed(), 'holds a lone surrogate, which UTF-8 cannot encode; remove it')

/** Absent or null gives the default. */
export const withDefault = <S extends z.ZodType>(
  schema: S,
  value: NonNullable<z.output<S>>,
  description?: string,
) =>
  schema
    .nullish()
    .transform((given): NonNullable<z.output<S>> => given ?? value)
    .meta({ default: value, ...(description === undefined ? {} : { description }) })

/** Absent or null gives undefined. */
export const orAbsent = <S extends z.ZodType>(schema: S) =>
  schema.nullish().transform((given): NonNullable<z.output<S>> | undefined => given ?? undefined)

/** A parameter that is accepted at the values that change nothing, and refused by name otherwise. */
export const onlyAtDefault = (...defaults: readonly unknown[]) => onlyAt({ defaults, instead: 'remove it' })

/** The same, with what to use instead. */
export const onlyAt = ({ defaults, instead }: { defaults: readonly unknown[]; instead: string }) => {
  const accepted = new Set([null, ...defaults].map((value) => JSON.stringify(value)))
  return z
    .unknown()
    .optional()
    .refine((value) => value === undefined || accepted.has(JSON.stringify(value)), {
      error:
        defaults.length === 0
          ? `is not supported; ${instead}`
          : `is not supported beyond its default (${defaults.map((value) => JSON.stringify(value)).join(' or ')}); ${instead}`,
      params: unsupportedParameter,
    })
    .meta({
      enum: [null, ...defaults],
      description: 'Not supported: accepted at the values that change nothing.',
    })
}

/** A number within bounds, refused with both of them. */
const between = (min: number, max: number) => {
  const error = `must be from ${min} to ${max}`
  return z.number('must be a number').min(min, error).max(max, error)
}

export const wholeBetween = (min: number, max: number) => {
  const error = `must be a whole number from ${min} to ${max}`
  return z.int(error).min(min, error).max(max, error)
}

const atLeastOne = 'must be a whole number, at least 1'
export const MaxTokens = z.int(atLeastOne).min(1, atLeastOne)

const Stop = z.union(
  [
    Text.min(1).max(maxStopLength),
    z.array(Text.min(1, 'a stop string cannot be empty').max(maxStopLength)).max(maxStopStrings),
  ],
  { error: `must be a string or an array of up to ${maxStopStrings} strings` },
)

const maxBiases = 1_024
const LogitBias = z.record(
  z.string().regex(/^(0|[1-9][0-9]{0,9})$/, 'must be a token id'),
  between(-100, 100),
)

const penaltyRange = 'must be more than 0 and at most 2'

/** Signed 64 bit, as far as a JSON number tells them apart. */
const seedRange = 'must be a whole number of 64 bits, with a sign'
const Seed = z
  .number('must be a number')
  .min(-(2 ** 63), seedRange)
  .max(2 ** 63, seedRange)
  .refine(Number.isInteger, seedRange)

const topPRange = 'must be more than 0 and at most 1'

export const samplingParameters = {
  temperature: withDefault(between(0, 2), 1, 'How freely tokens are drawn; 0 always takes the likeliest.'),
  top_p: withDefault(
    z.number('must be a number').gt(0, topPRange).max(1, topPRange),
    1,
    'Draws from the likeliest tokens that together have this probability.',
  ),
  frequency_penalty: withDefault(between(-2, 2), 0),
  presence_penalty: withDefault(between(-2, 2), 0),
  logit_bias: withDefault(
    toOneBeyond(
      maxBiases,
      LogitBias.refine((bias) => Object.keys(bias).length <= maxBiases, `has more than ${maxBiases} entries`),
    ),
    {},
  ),
  seed: orAbsent(Seed).meta({
    description: 'The same seed draws the same tokens; −1 means a fresh random one, as without.',
  }),
  stop: withDefault(Stop, []).transform((stop) => (typeof stop === 'string' ? [stop] : stop)),
  n: withDefault(
    wholeBetween(1, maxChoices),
    1,
    'Choices per prompt; choice i draws with seed + i, and the prompt counts once.',
  ),
  user: orAbsent(Text.max(512)),
  top_k: withDefault(
    wholeBetween(-1, 1_000_000),
    0,
    'Extension: keep the k likeliest tokens; 0 and −1 keep all.',
  ),
  min_p: withDefault(
    between(0, 1),
    0,
    'Extension: keep tokens at least this likely relative to the likeliest.',
  ),
  ignore_eos: withDefault(
    z.boolean(),
    false,
    'Extension: go on past the end-of-sequence token until `max_tokens`.',
  ),
  repetition_penalty: withDefault(
    z.number('must be a number').gt(0, penaltyRange).max(2, penaltyRange),
    1,
    'Extension: divides the positive logits of tokens in the prompt or the answer, and multiplies the negative ones.',
  ),
  min_tokens: withDefault(
    wholeBetween(0, 262_144),
    0,
    'Extension: so many tokens come before an end-of-sequence token, a stop token or a stop string ends the answer.',
  ),
  stop_token_ids: withDefault(
    z.array(z.int().min(0)).max(maxStopTokenIds),
    [],
    'Extension: ids of tokens that end the answer; such a token has no text.',
  ),
  skip_special_tokens: onlyAt({ defaults: [true], instead: 'ask for logprobs to see special tokens' }),
  spaces_between_special_tokens: onlyAtDefault(true),
  include_stop_str_in_output: onlyAt({ defaults: [false], instead: 'append the stop string yourself' }),
  length_penalty: onlyAt({ defaults: [1], instead: 'there is no beam search' }),
  early_stopping: onlyAt({ defaults: [false], instead: 'there is no beam search' }),
  use_beam_search: onlyAt({ defaults: [false], instead: 'use n with a temperature' }),
  typical_p: onlyAt({ defaults: [1], instead: 'use top_p or min_p' }),
  best_of: onlyAt({ defaults: [1], instead: 'use n and choose among the choices' }),
  detokenize: onlyAtDefault(true),
  truncate_prompt_tokens: onlyAt({ defaults: [], instead: 'shorten the prompt' }),
  prompt_logprobs: onlyAtDefault(),
  allowed_token_ids: onlyAt({ defaults: [], instead: 'use logit_bias' }),
  bad_words: withDefault(
    z.array(Text.min(1, 'a bad word cannot be empty').max(maxBadWordLength)).max(maxBadWords),
    [],
    'Extension, as vLLM has it: the answer does not have the tokens of these words, with or without a space in front. What the form of an answer demands goes before.',
  ),
  priority: withDefault(
    wholeBetween(-(2 ** 31), 2 ** 31 - 1),
    0,
    'Extension, as vLLM has it: among the requests of the same tenant that wait at a node, those of a lower number go first.',
  ),
  return_tokens_as_token_ids: onlyAtDefault(false),
}

const Label = Text.max(512)

/**
 * Parameters that are accepted and have no effect here; a request that sets one to more than its default is told so.
 */
const idle = {
  metadata: { schema: z.record(z.string(), z.unknown()), neutral: '*' },
  store: { schema: z.boolean(), neutral: [false] },
  service_tier: { schema: Label, neutral: ['auto', 'default', 'standard_only'] },
  reasoning_effort: { schema: Label, neutral: ['none'] },
  verbosity: { schema: Label, neutral: ['medium'] },
  prompt_cache_retention: { schema: Label, neutral: [] },
  prompt_cache_key: { schema: Label, neutral: '*' },
  safety_identifier: { schema: Label, neutral: '*' },
  cache_prompt: { schema: z.boolean(), neutral: [true] },
} as const satisfies Record<string, { schema: z.ZodType; neutral: readonly unknown[] | '*' }>

const withoutEffect = <S extends z.ZodType>(schema: S) =>
  orAbsent(schema).meta({ description: 'Accepted, without an effect.' })

export const idleParameters = {
  metadata: withoutEffect(idle.metadata.schema),
  store: withoutEffect(idle.store.schema),
  service_tier: withoutEffect(idle.service_tier.schema),
  reasoning_effort: withoutEffect(idle.reasoning_effort.schema),
  verbosity: withoutEffect(idle.verbosity.schema),
  prompt_cache_retention: withoutEffect(idle.prompt_cache_retention.schema),
  prompt_cache_key: withoutEffect(idle.prompt_cache_key.schema),
  safety_identifier: withoutEffect(idle.safety_identifier.schema),
  cache_prompt: withoutEffect(idle.cache_prompt.schema),
}

/** The same as fields of other parameters, with the values that change nothing. */
const idleFields: Readonly<Record<string, Readonly<Record<string, readonly unknown[]>>>> = {
  reasoning: { effort: ['none'], summary: ['auto'] },
  text: { verbosity: ['medium'] },
  output_config: { effort: ['high'] },
}

/** The parameters of a request that ask for something and get nothing. */
export function idleOf(request: Readonly<Record<string, unknown>>): string[] {
  const own = Object.entries(idle).flatMap(([name, { neutral }]) => {
    const value = request[name]
    const isNeutral = neutral === '*' || neutral.some((each) => each === value)
    return value === undefined || isNeutral ? [] : [name]
  })
  const inside = Object.entries(idleFields).flatMap(([name, fields]) => {
    const value = request[name]
    if (typeof value !== 'object' || value === null) return []
    return Object.entries(fields).flatMap(([field, neutral]) => {
      const asked: unknown = Reflect.get(value, field)
      return asked === undefined || asked === null || neutral.includes(asked) ? [] : [`${name}.${field}`]
    })
  })
  return [...own, ...inside]
}

export const streamParameters = {
  stream: withDefault(z.boolean(), false, 'Answer with server-sent events.'),
  stream_options: orAbsent(
    z.strictObject({
      include_usage: withDefault(z.boolean(), false),
      continuous_usage_stats: withDefault(z.boolean(), false, 'Extension: every event has the usage so far.'),
      include_obfuscation: onlyAtDefault(false),
    }),
  ),
}

/** Stands between the aliases of a stack. No alias has it in its name. */
export const stackSeparator = '+'
const maxNameLength = 128
/** The longest name of one side of an alias. */
const maxPartLength = 64 + '@canary'.length
/** A stack of as many aliases as there may be, each as long as there may be. */
export const maxModelLength = maxStacked * (maxPartLength + stackSeparator.length) - stackSeparator.length

export const ModelName = z
  .string()
  .min(1)
  .max(maxModelLength)
  .refine(
    (model) => model.length <= maxNameLength || model.includes(stackSeparator),
    `must have at most ${maxNameLength} characters`,
  )
  .meta({
    description: `One of the tenant's aliases, or the backbone's name for the untuned model. Extension: up to ${maxStacked} aliases of late adapters with + between them, whose rows stand one behind the other.`,
  })

/** OpenAI refuses `stream_options` without `stream`. */
export const streamOptionsNeedStream = {
  check: (request: { stream: boolean; stream_options?: unknown }) =>
    request.stream || request.stream_options === undefined,
  detail: { path: ['stream_options'], error: 'is only allowed when stream is true' },
}

export const CompletionUsage = z.object({
  prompt_tokens: z.int(),
  completion_tokens: z.int(),
  total_tokens: z.int(),
  /** Prompt tokens that an earlier request had run; absent when there were none. */
  prompt_tokens_details: z.object({ cached_tokens: z.int() }).optional(),
})
export type CompletionUsage = z.infer<typeof CompletionUsage>
