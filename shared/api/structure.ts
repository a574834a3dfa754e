import { z } from 'zod'
import { onlyAtDefault, orAbsent, Text, withDefault } from './parameters.ts'

/** Parameters that say what form an answer has: OpenAI's `response_format`, and vLLM's in both of its spellings. */

const maxChoices = 1_000
const maxTextLength = 64 * 1024

const JsonSchema = z.union([z.record(z.string(), z.unknown()), z.boolean()], {
  error: 'must be a JSON schema: an object',
})
export type JsonSchema = z.infer<typeof JsonSchema>

/** Some clients send the schema as text. */
const JsonOrText = z.union([JsonSchema, Text.max(maxTextLength)], { error: 'must be a JSON schema' })
const Source = Text.min(1).max(maxTextLength)
const Choices = z.array(Text.min(1, 'a choice cannot be empty')).min(1).max(maxChoices)

const JsonForm = {
  name: z.string().regex(/^[A-Za-z0-9_-]{1,64}$/, 'must be 1 to 64 letters, digits, - or _'),
  description: orAbsent(Text.max(4096)),
  schema: JsonSchema,
  strict: withDefault(z.boolean(), false),
}

/** `text.format` of the Responses API: `response_format`, with the schema beside its type. */
export const TextFormat = z.discriminatedUnion(
  'type',
  [
    z.strictObject({ type: z.literal('text') }),
    z.strictObject({ type: z.literal('json_object') }),
    z.strictObject({ type: z.literal('json_schema'), ...JsonForm }),
  ],
  { error: 'must have the type text, json_object or json_schema' },
)
export type TextFormat = z.infer<typeof TextFormat>

const jsonForms = [
  z.strictObject({ type: z.literal('json_object') }),
  z.strictObject({ type: z.literal('json_schema'), json_schema: z.strictObject(JsonForm) }),
] as const

const ResponseFormat = z.discriminatedUnion(
  'type',
  [z.strictObject({ type: z.literal('text') }), ...jsonForms],
  { error: 'must have the type text, json_object or json_schema' },
)

/** Characters of JSON in the form that an alias gives its answers. */
const maxAliasFormLength = 16 * 1024

/** The form that an alias gives its answers where a request asks for none. */
export const AnswerForm = z
  .discriminatedUnion('type', jsonForms, { error: 'must have the type json_object or json_schema' })
  .refine(
    (form) => JSON.stringify(form).length <= maxAliasFormLength,
    `is longer than ${maxAliasFormLength} characters; an alias keeps shorter ones`,
  )
export type AnswerForm = z.infer<typeof AnswerForm>

/** The form of a JSON schema that has no name of its own. Not checked. */
export const schemaForm = (schema: unknown, alias: string) => ({
  type: 'json_schema',
  json_schema: { name: alias.replaceAll(/[^A-Za-z0-9_-]/g, '_').slice(0, 64), schema },
})

/** A form as the Responses API writes it. */
export const textFormatOf = (form: AnswerForm): TextFormat =>
  form.type === 'json_schema' ? { type: form.type, ...form.json_schema } : { type: form.type }

/** A form by its kind, and its schema's name. */
export const FormBrief = z.object({
  type: z.enum(['json_object', 'json_schema']),
  name: z.string().optional(),
})
export type FormBrief = z.infer<typeof FormBrief>

export const briefOf = (form: AnswerForm): FormBrief =>
  form.type === 'json_schema' ? { type: form.type, name: form.json_schema.name } : { type: form.type }

const StructuredOutputs = z.strictObject({
  json: orAbsent(JsonOrText),
  regex: orAbsent(Source),
  choice: orAbsent(Choices),
  grammar: orAbsent(Source),
  json_object: orAbsent(z.boolean()),
  disable_fallback: onlyAtDefault(false, true),
  disable_any_whitespace: onlyAtDefault(false, true),
  disable_additional_properties: onlyAtDefault(false),
  whitespace_pattern: onlyAtDefault(),
  structural_tag: onlyAtDefault(),
})

export const structureParameters = {
  response_format: orAbsent(ResponseFormat),
  guided_json: orAbsent(JsonOrText).meta({ description: 'Extension: the answer is JSON of this schema.' }),
  guided_regex: orAbsent(Source).meta({ description: 'Extension: the whole answer matches.' }),
  guided_choice: orAbsent(Choices).meta({ description: 'Extension: the answer is one of these.' }),
  guided_grammar: orAbsent(Source).meta({
    description: 'Extension: the answer follows a grammar in EBNF whose first rule is `root`.',
  }),
  guided_decoding_backend: orAbsent(Text.max(64)),
  guided_whitespace_pattern: onlyAtDefault(),
  structured_outputs: orAbsent(StructuredOutputs),
}

const Structured = z.object(structureParameters)
export type Structured = Pick<
  z.infer<typeof Structured>,
  | 'response_format'
  | 'guided_json'
  | 'guided_regex'
  | 'guided_choice'
  | 'guided_grammar'
  | 'structured_outputs'
>
