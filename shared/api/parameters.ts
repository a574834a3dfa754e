import { z } from 'zod'
import { unsupportedParameter } from './parse.ts'

/** What `/v1/chat/completions` and `/v1/completions` have in common. `null` means "as if absent", as at OpenAI. */

export const maxChoices = 4
export const maxStopStrings = 4
export const maxStopLength = 512

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

/** A parameter of OpenAI's API that is accepted at the values that change nothing, and refused by name otherwise. */
export const onlyAtDefault = (...defaults: readonly unknown[]) => {
  const accepted = new Set([null, ...defaults].map((value) => JSON.stringify(value)))
  return z
    .unknown()
    .optional()
    .refine((value) => value === undefined || accepted.has(JSON.stringify(value)), {
      error:
        defaults.length === 0
          ? 'is not supported; remove it'
          : `is not supported beyond its default (${defaults.map((value) => JSON.stringify(value)).join(' or ')}); remove it`,
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

const LogitBias = z.record(
  z.string().regex(/^(0|[1-9][0-9]{0,9})$/, 'must be a token id'),
  between(-100, 100),
)

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
    LogitBias.refine((bias) => Object.keys(bias).length <= 1024, 'has more than 1024 entries'),
    {},
  ),
  seed: orAbsent(wholeBetween(0, Number.MAX_SAFE_INTEGER - maxChoices)),
  stop: withDefault(Stop, []).transform((stop) => (typeof stop === 'string' ? [stop] : stop)),
  n: withDefault(
    wholeBetween(1, maxChoices),
    1,
    'Choices per prompt; choice i draws with seed + i, and the prompt counts once.',
  ),
  user: orAbsent(Text.max(512)),
  top_k: withDefault(wholeBetween(0, 1_000_000), 0, 'Extension: keep the k likeliest tokens; 0 keeps all.'),
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
}

export const streamParameters = {
  stream: withDefault(z.boolean(), false, 'Answer with server-sent events.'),
  stream_options: orAbsent(
    z.strictObject({
      include_usage: withDefault(z.boolean(), false),
      include_obfuscation: onlyAtDefault(false),
    }),
  ),
}

export const Model = z.string().min(1).max(128).meta({
  description: "One of the tenant's aliases, or the backbone's name for the untuned model.",
})

/** OpenAI refuses `stream_options` without `stream`. */
export const streamOptionsNeedStream = {
  check: (request: { stream: boolean; stream_options?: unknown }) =>
    request.stream || request.stream_options === undefined,
  detail: { path: ['stream_options'], error: 'is only allowed when stream is true' },
}

export const Usage = z.object({
  prompt_tokens: z.int(),
  completion_tokens: z.int(),
  total_tokens: z.int(),
  /** Of the prompt tokens, those that an earlier request had run already; absent when there were none. */
  prompt_tokens_details: z.object({ cached_tokens: z.int() }).optional(),
})
export type Usage = z.infer<typeof Usage>

export const FinishReason = z.enum(['stop', 'length'])
