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
export const withDefault = <S extends z.ZodType>(schema: S, value: NonNullable<z.output<S>>) =>
  schema.nullish().transform((given): NonNullable<z.output<S>> => given ?? value)

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
}

export const MaxTokens = z.int().min(1)

const Stop = z.union(
  [
    Text.min(1).max(maxStopLength),
    z.array(Text.min(1, 'a stop string cannot be empty').max(maxStopLength)).max(maxStopStrings),
  ],
  { error: `must be a string or an array of up to ${maxStopStrings} strings` },
)

const LogitBias = z.record(
  z.string().regex(/^(0|[1-9][0-9]{0,9})$/, 'must be a token id'),
  z.number().min(-100).max(100),
)

export const samplingParameters = {
  temperature: withDefault(z.number().min(0).max(2), 1),
  top_p: withDefault(z.number().gt(0).max(1), 1),
  frequency_penalty: withDefault(z.number().min(-2).max(2), 0),
  presence_penalty: withDefault(z.number().min(-2).max(2), 0),
  logit_bias: withDefault(
    LogitBias.refine((bias) => Object.keys(bias).length <= 1024, 'has more than 1024 entries'),
    {},
  ),
  seed: orAbsent(
    z
      .int()
      .min(0)
      .max(Number.MAX_SAFE_INTEGER - maxChoices),
  ),
  stop: withDefault(Stop, []).transform((stop) => (typeof stop === 'string' ? [stop] : stop)),
  n: withDefault(z.int().min(1).max(maxChoices), 1),
  user: orAbsent(Text.max(512)),
  /** Extension: keep the k most likely tokens; 0 keeps all. */
  top_k: withDefault(z.int().min(0).max(1_000_000), 0),
  /** Extension: keep tokens at least this likely relative to the likeliest. */
  min_p: withDefault(z.number().min(0).max(1), 0),
  /** Extension: go on past the end-of-sequence token until `max_tokens`. */
  ignore_eos: withDefault(z.boolean(), false),
}

export const streamParameters = {
  stream: withDefault(z.boolean(), false),
  stream_options: orAbsent(
    z.strictObject({
      include_usage: withDefault(z.boolean(), false),
      include_obfuscation: onlyAtDefault(false),
    }),
  ),
}

export const Model = z.string().min(1).max(128)

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
})
export type Usage = z.infer<typeof Usage>

export const FinishReason = z.enum(['stop', 'length'])
