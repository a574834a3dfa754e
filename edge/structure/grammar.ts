import type { JsonSchema, Structured, TextFormat } from '../../shared/api/structure.ts'
import { QuartetError } from '../../shared/errors.ts'
import { maxGrammarLength, type SimpleGrammar } from '../../shared/wire.ts'
import { checkedSchema } from './json-schema.ts'

type Request = Structured & { readonly min_tokens: number }

/** The grammar of an answer, if the request asks for one. A request may ask for one form only. */
export function grammarOf(request: Request): SimpleGrammar | undefined {
  return theOne(formsOf(request), request.min_tokens)
}

/** The same of `text.format`, as the Responses API has it. */
export function grammarOfText(format: TextFormat | undefined, minTokens: number): SimpleGrammar | undefined {
  switch (format?.type) {
    case 'json_object':
      return theOne([anyObject('text.format')], minTokens)
    case 'json_schema': {
      const form = ofSchema(format.schema, { param: 'text.format.schema', isStrict: format.strict })
      return theOne([form], minTokens)
    }
    default:
      return undefined
  }
}

/** The same of one schema; undefined without any. */
export function grammarOfSchema(
  schema: JsonSchema | undefined,
  { minTokens, param }: { minTokens: number; param: string },
): SimpleGrammar | undefined {
  return schema === undefined ? undefined : theOne([ofSchema(schema, { param, isStrict: false })], minTokens)
}

function theOne([first, second]: readonly Form[], minTokens: number): SimpleGrammar | undefined {
  if (first === undefined) return undefined
  if (second !== undefined)
    throw new QuartetError(
      'invalid_request',
      `${second.param}: the answer has one form, and ${first.param} gives it already; give one of them`,
      { param: second.param },
    )
  if (minTokens > 0)
    throw new QuartetError('invalid_request', `min_tokens: does not go with ${first.param}; remove it`, {
      param: 'min_tokens',
    })
  const grammar = first.grammar()
  if (grammarLength(grammar) > maxGrammarLength)
    throw new QuartetError(
      'grammar_invalid',
      `${first.param}: is longer than ${maxGrammarLength} characters`,
      {
        param: first.param,
      },
    )
  return grammar
}

/** The length that the wire limits. */
export const grammarLength = (grammar: object): number => JSON.stringify(grammar).length

interface Form {
  readonly param: string
  readonly grammar: () => SimpleGrammar
}

function formsOf(request: Request): Form[] {
  const { response_format: format, structured_outputs: outputs = {} } = request
  const forms: (Form | undefined)[] = [
    format?.type === 'json_object' ? anyObject('response_format') : undefined,
    format?.type === 'json_schema'
      ? ofSchema(format.json_schema.schema, {
          param: 'response_format.json_schema.schema',
          isStrict: format.json_schema.strict,
        })
      : undefined,
    ...spelled('guided_', {
      json: request.guided_json,
      regex: request.guided_regex,
      choice: request.guided_choice,
      grammar: request.guided_grammar,
    }),
    ...spelled('structured_outputs.', outputs),
    'json_object' in outputs && outputs.json_object === true
      ? anyObject('structured_outputs.json_object')
      : undefined,
  ]
  return forms.filter((form) => form !== undefined)
}

interface Spelled {
  readonly json?: JsonSchema | string | undefined
  readonly regex?: string | undefined
  readonly choice?: readonly string[] | undefined
  readonly grammar?: string | undefined
}

/** vLLM's four forms under names that begin with `prefix`. */
function spelled(prefix: string, { choice, grammar, json, regex }: Spelled): (Form | undefined)[] {
  return [
    json === undefined ? undefined : ofSchema(json, { param: `${prefix}json`, isStrict: false }),
    regex === undefined
      ? undefined
      : { param: `${prefix}regex`, grammar: () => ({ kind: 'regex', pattern: regex }) },
    choice === undefined
      ? undefined
      : {
          param: `${prefix}choice`,
          grammar: () => ({ kind: 'ebnf', grammar: `root ::= ${choice.map(literal).join(' | ')}` }),
        },
    grammar === undefined
      ? undefined
      : { param: `${prefix}grammar`, grammar: () => ({ kind: 'ebnf', grammar }) },
  ]
}

const anyObject = (param: string): Form => ({
  param,
  grammar: () => ({ kind: 'json_schema', schema: '{"type":"object","additionalProperties":true}' }),
})

const ofSchema = (
  schema: JsonSchema | string,
  { isStrict, param }: { isStrict: boolean; param: string },
): Form => ({
  param,
  grammar: () => ({
    kind: 'json_schema',
    schema: JSON.stringify(checkedSchema(parsed(schema, param), { isStrict, param })),
  }),
})

function parsed(schema: JsonSchema | string, param: string): unknown {
  if (typeof schema !== 'string') return schema
  try {
    return JSON.parse(schema)
  } catch {
    throw new QuartetError('invalid_request', `${param}: is text that is no JSON`, { param })
  }
}

/** A text in EBNF's quotes, every character that is no plain one by its number. */
export const literal = (text: string): string =>
  `"${[...text].map((character) => (/[A-Za-z0-9 ]/.test(character) ? character : escaped(character))).join('')}"`

const escaped = (character: string): string =>
  `\\U${(character.codePointAt(0) ?? 0).toString(16).padStart(8, '0')}`
