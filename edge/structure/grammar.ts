import type { AnswerForm, JsonSchema, Structured, TextFormat } from '../../shared/api/structure.ts'
import { QuartetError } from '../../shared/errors.ts'
import { parseBounded, RefusedJson } from '../../shared/json-depth.ts'
import { maxGrammarLength, type SimpleGrammar } from '../../shared/wire.ts'
import { checkedSchema } from './json-schema.ts'

type Request = Structured & { readonly min_tokens: number }

/** Tells the form that the models give their answers. It is asked where the request brings none. */
type OwnForm = () => AnswerForm | undefined

/**
 * The grammar of an answer: of the form that the request asks for, or else of the models' own. A request may ask for one
 * form only, and for `text`, which is none.
 */
export function grammarOf(request: Request, own: OwnForm = () => undefined): SimpleGrammar | undefined {
  const asked = formsOf(request)
  const isFree = request.response_format?.type === 'text'
  return theOne(asked.length > 0 || isFree ? asked : formsOfOwn(own), request.min_tokens)
}

const formsOfOwn = (own: OwnForm): Form[] => {
  const form = own()
  return form === undefined ? [] : [{ ...ofResponseFormat(form), isOwn: true }]
}

/** The field in which a request asks for a form. */
export const formParamOf = (request: Structured): string | undefined => formsOf(request)[0]?.param

/** Throws `grammar_invalid` for a form that no answer could be held to. */
export function checkForm(form: AnswerForm): void {
  theOne([ofResponseFormat(form)], 0)
}

/** The same of `text.format`, as the Responses API has it. */
export function grammarOfText(
  format: TextFormat | undefined,
  { minTokens, own }: { minTokens: number; own: OwnForm },
): SimpleGrammar | undefined {
  switch (format?.type) {
    case undefined:
      return theOne(formsOfOwn(own), minTokens)
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

/** The same of one schema. */
export function grammarOfSchema(
  schema: JsonSchema | undefined,
  { minTokens, own, param }: { minTokens: number; own: OwnForm; param: string },
): SimpleGrammar | undefined {
  const forms = schema === undefined ? formsOfOwn(own) : [ofSchema(schema, { param, isStrict: false })]
  return theOne(forms, minTokens)
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
    throw new QuartetError(
      'invalid_request',
      first.isOwn === true
        ? 'min_tokens: does not go with the form that the alias gives its answers; remove it'
        : `min_tokens: does not go with ${first.param}; remove it`,
      { param: 'min_tokens' },
    )
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
  /** The field that gives it. */
  readonly param: string
  /** It is the alias's own: the request has no such field. */
  readonly isOwn?: true
  readonly grammar: () => SimpleGrammar
}

function formsOf(request: Structured): Form[] {
  const { response_format: format, structured_outputs: outputs = {} } = request
  const forms: (Form | undefined)[] = [
    format === undefined || format.type === 'text' ? undefined : ofResponseFormat(format),
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

function ofResponseFormat(format: AnswerForm): Form {
  if (format.type === 'json_object') return anyObject('response_format')
  const { schema, strict } = format.json_schema
  return ofSchema(schema, { param: 'response_format.json_schema.schema', isStrict: strict })
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
    return parseBounded(schema)
  } catch (thrown) {
    const why =
      thrown instanceof RefusedJson ? `${thrown.message}; ${thrown.remedy}` : 'is text that is no JSON'
    throw new QuartetError('invalid_request', `${param}: ${why}`, { param })
  }
}

/** A text in EBNF's quotes, every character that is no plain one by its number. */
export const literal = (text: string): string =>
  `"${[...text].map((character) => (/[A-Za-z0-9 ]/.test(character) ? character : escaped(character))).join('')}"`

const escaped = (character: string): string =>
  `\\U${(character.codePointAt(0) ?? 0).toString(16).padStart(8, '0')}`
