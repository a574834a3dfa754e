import type { FunctionDefinition } from '../../shared/api/tools.ts'
import { QuartetError } from '../../shared/errors.ts'
import { type Grammar, maxGrammarLength, type SimpleGrammar } from '../../shared/wire.ts'
import { grammarLength, literal } from '../structure/grammar.ts'
import { checkedSchema } from '../structure/json-schema.ts'
import type { ToolFormat } from './tool-format.ts'

export interface HeldCalls {
  readonly format: ToolFormat
  readonly functions: readonly FunctionDefinition[]
  /** Where a function's schema stands in the request. */
  readonly paramOf: (definition: FunctionDefinition) => string
  /** Whether an answer may hold several calls. */
  readonly isMany: boolean
  /** The marker is a special token, which no grammar spells: the prompt has it, or the grammar begins behind it. */
  readonly isMarkerSpecial: boolean
}

/** An answer that is calls and nothing else. */
export function onlyCalls(held: HeldCalls): Grammar {
  return composed(held, { rules: [`root ::= ${markerOf(held)} calls`], isEachChecked: true })
}

/** An answer of text in which every call keeps to its function's schema, if that is strict. */
export function textWithCalls(held: HeldCalls): Grammar {
  const { format, functions, isMarkerSpecial } = held
  if (isMarkerSpecial) return composed(held, { rules: ['root ::= calls'], isEachChecked: false })
  if (!format.isBare)
    return composed(held, { rules: dispatch(format.markers[0] ?? '', 'calls'), isEachChecked: false })
  const opening = '{"name": "'
  const rest = functions.map(
    ({ name }, at) =>
      `${literal(format.frame.before(name).slice(opening.length))} part_${at} ${literal(format.frame.after)}`,
  )
  return composed(held, {
    rules: [...dispatch(opening, 'opened'), `opened ::= ${rest.join(' | ')}`],
    isEachChecked: false,
  })
}

/** Either what `form` allows or calls. */
export function formOrCalls(form: SimpleGrammar, held: HeldCalls): Grammar {
  return composed(held, {
    rules: [`root ::= part_${held.functions.length} | ${markerOf(held)} calls`],
    isEachChecked: false,
    further: [form],
  })
}

/** Any text, in which `rule` follows each `trigger`. */
const dispatch = (trigger: string, rule: string): string[] => [
  `root ::= TagDispatch((${literal(trigger)}, ${rule}), stop_eos=true, loop_after_dispatch=true)`,
]

const markerOf = ({ format: { isBare, markers }, isMarkerSpecial }: HeldCalls): string =>
  isBare || isMarkerSpecial ? '' : literal(markers[0] ?? '')

interface Composition {
  /** They may refer to `calls`. */
  readonly rules: readonly string[]
  /** Arguments of functions that are not strict are checked, too. */
  readonly isEachChecked: boolean
  readonly further?: readonly SimpleGrammar[]
}

function composed(held: HeldCalls, { further = [], isEachChecked, rules }: Composition): Grammar {
  const { format, functions, isMany, paramOf } = held
  const { after, before, between, close, open } = format.frame
  const call = functions.map(({ name }, at) => `${literal(before(name))} part_${at} ${literal(after)}`)
  const more = isMany ? `(${literal(between)} call)*` : ''
  const calls = [`calls ::= ${spelled(open)} call ${more} ${spelled(close)}`, `call ::= ${call.join(' | ')}`]
  const parts = functions.map((definition): SimpleGrammar => {
    const isChecked = definition.strict || isEachChecked
    const schema = isChecked
      ? argumentsSchema(definition, paramOf(definition))
      : { type: 'object', additionalProperties: true }
    return { kind: 'json_schema', schema: JSON.stringify(schema) }
  })
  const grammar: Grammar = {
    kind: 'composed',
    grammar: [...rules, ...(rules.some((rule) => /\bcalls\b/.test(rule)) ? calls : [])].join('\n'),
    parts: [...parts, ...further],
  }
  if (grammarLength(grammar) <= maxGrammarLength) return grammar
  throw new QuartetError(
    'grammar_invalid',
    `tools: their schemas are longer than ${maxGrammarLength} characters together; make them shorter, or fewer of them strict`,
    { param: 'tools' },
  )
}

const spelled = (text: string): string => (text === '' ? '' : literal(text))

function argumentsSchema({ parameters = {}, strict }: FunctionDefinition, param: string): unknown {
  const isTyped = ['type', 'anyOf', '$ref'].some((key) => key in parameters)
  const schema = isTyped ? parameters : { ...parameters, type: 'object' }
  const isEmpty = Object.keys(parameters).length === 0
  const checked = checkedSchema(
    isEmpty ? { ...schema, properties: {}, additionalProperties: false } : schema,
    {
      isStrict: strict,
      param,
    },
  )
  const type = typeof checked === 'object' && checked !== null && 'type' in checked ? checked.type : 'object'
  if (type === 'object') return checked
  throw new QuartetError('grammar_invalid', `${param}.type: must be object; arguments have names`, {
    param: `${param}.type`,
  })
}
