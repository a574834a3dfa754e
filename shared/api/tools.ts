import { z } from 'zod'
import { orAbsent, Text, withDefault } from './parameters.ts'

/** Functions that a model may ask its client to call, as OpenAI has them. */

export const maxTools = 128
/** Characters of all definitions together. */
export const maxToolsLength = 256 * 1024

export const FunctionName = z
  .string()
  .regex(/^[A-Za-z0-9_-]{1,128}$/, 'must be 1 to 128 letters, digits, - or _')

/** The fields of a function that OpenAI's two endpoints share. */
export const functionFields = {
  name: FunctionName,
  description: orAbsent(Text.max(16 * 1024)),
  parameters: orAbsent(
    z.record(z.string(), z.unknown(), { error: 'must be a JSON schema of an object' }),
  ).meta({ description: 'A JSON schema; none means a function without parameters.' }),
  strict: withDefault(
    z.boolean(),
    false,
    'Arguments always validate: the node chooses only tokens that keep to the schema.',
  ),
}

export interface FunctionDefinition {
  readonly name: string
  readonly description: string | undefined
  /** A JSON schema. */
  readonly parameters: Readonly<Record<string, unknown>> | undefined
  readonly strict: boolean
}

/** Says which functions the model may, must or must not call. */
export type ToolChoice = 'none' | 'auto' | 'required' | { readonly name: string }

const Tool = z.strictObject({
  type: z.literal('function', {
    error: 'must be "function"; there are no other tools, so describe it as a function',
  }),
  function: z.strictObject(functionFields),
})

export const Tools = z.array(Tool).max(maxTools, `must hold at most ${maxTools} tools`)

const NamedTool = z.strictObject({
  type: z.literal('function'),
  function: z.strictObject({ name: z.string().max(128) }),
})

export const ToolChoiceParameter = z.union([z.enum(['none', 'auto', 'required']), NamedTool], {
  error: 'must be none, auto, required or {"type": "function", "function": {"name": …}}',
})

/** A call in an assistant's message of the history. */
export const HistoryCall = z.strictObject({
  id: Text.min(1).max(256),
  type: withDefault(z.literal('function'), 'function'),
  function: z.strictObject({ name: Text.min(1).max(256), arguments: Text }),
  index: z.unknown().optional(),
})

/** A call in an answer. */
export const AnsweredCall = z.object({
  id: z.string(),
  type: z.literal('function'),
  function: z.object({ name: z.string(), arguments: z.string() }),
})

/** A piece of a call in an event: the first one names it, those behind it bring arguments. */
export const CallPiece = z.object({
  index: z.int(),
  id: z.string().optional(),
  type: z.literal('function').optional(),
  function: z.object({ name: z.string().optional(), arguments: z.string() }),
})
export type CallPiece = z.infer<typeof CallPiece>
