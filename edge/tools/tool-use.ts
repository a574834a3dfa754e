import type { FunctionDefinition, ToolChoice } from '../../shared/api/tools.ts'
import { maxToolsLength } from '../../shared/api/tools.ts'
import { QuartetError } from '../../shared/errors.ts'
import { ChatTemplate, type ShownTools } from '../../shared/tokenizer/chat-template.ts'
import type { ShownFunction } from '../../shared/tokenizer/conversation.ts'
import type { Grammar, SimpleGrammar } from '../../shared/wire.ts'
import type { ModelWithCodec } from '../tenants/load-codec.ts'
import { AnswerCalls } from './answer-calls.ts'
import { type ToolFormat, toolFormat } from './tool-format.ts'
import { formOrCalls, type HeldCalls, onlyCalls, textWithCalls } from './tool-grammar.ts'

/** The functions of a request, whichever endpoint it came to. */
export interface AskedTools {
  readonly functions: readonly FunctionDefinition[]
  readonly choice: ToolChoice
  readonly isParallel: boolean
  /** The client's names for the fields of a function. */
  readonly places: {
    readonly name: (index: number) => string
    readonly schema: (index: number) => string
    readonly strict: (index: number) => string
    readonly choice: string
  }
}

/** The constraint on an answer: its grammar, and the tokens behind which the grammar applies. */
export interface Constraint {
  readonly grammar: Grammar | undefined
  readonly grammarAfter: readonly number[] | undefined
}

/** How one model is told of a request's functions, and how its calls are read. */
export class ToolUse {
  readonly #asked: AskedTools
  readonly #format: ToolFormat
  readonly #offered: readonly FunctionDefinition[]
  readonly #isMany: boolean
  /** Special tokens of the format, whose text the reader needs. */
  readonly shownTokens: ReadonlySet<number>
  readonly #marker: number | undefined

  /** Throws `invalid_request` for functions that contradict one another or the choice. */
  constructor(asked: AskedTools, { codec, model }: ModelWithCodec) {
    checkTools(asked)
    const { tools } = ChatTemplate.of(model.record, codec)
    this.#asked = asked
    this.#format = toolFormat(tools)
    this.#offered = offered(asked)
    this.#isMany = asked.isParallel && tools.calls !== 'one' && typeof asked.choice === 'string'
    const special = (text: string) => codec.addedTokens.specialId(text) ?? []
    const { closers, markers, separators = [] } = this.#format
    this.shownTokens = new Set(this.#mayCall ? [...markers, ...closers, ...separators].flatMap(special) : [])
    this.#marker = codec.addedTokens.specialId(markers[0] ?? '')
  }

  get #mayCall(): boolean {
    return this.#offered.length > 0
  }

  get #mustCall(): boolean {
    return this.#mayCall && (this.#asked.choice === 'required' || typeof this.#asked.choice === 'object')
  }

  get #isStrict(): boolean {
    return this.#offered.some(({ strict }) => strict)
  }

  /** The functions as the template gets them. A model that must call finds its special token written already. */
  get shown(): ShownTools {
    return {
      functions: this.#offered.map(shownFunction),
      spelling: this.#format,
      opening: this.#opening,
    }
  }

  get #opening(): string {
    const isWritten = this.#mustCall && !this.#format.isBare && this.#marker !== undefined
    return isWritten ? (this.#format.markers[0] ?? '') : ''
  }

  /** The constraint on the answer. `form` is the form that the request asks for besides its functions. */
  constraint(form: SimpleGrammar | undefined, { minTokens }: { minTokens: number }): Constraint {
    const constraint = this.#constraint(form)
    if (constraint.grammar === undefined || minTokens === 0) return constraint
    throw new QuartetError(
      'invalid_request',
      'min_tokens: does not go with functions that hold the answer to a grammar; remove it',
      { param: 'min_tokens' },
    )
  }

  #constraint(form: SimpleGrammar | undefined): Constraint {
    if (!this.#mayCall) return { grammar: form, grammarAfter: undefined }
    if (this.#mustCall) return { grammar: onlyCalls(this.#held), grammarAfter: undefined }
    const isLate = this.#marker !== undefined && !this.#format.isBare
    if (form !== undefined) {
      if (isLate)
        throw new QuartetError(
          'invalid_request',
          `${this.#asked.places.choice}: this model cannot be held to a form and be free to call; choose none or required, or ask for no form`,
          { param: this.#asked.places.choice },
        )
      return { grammar: formOrCalls(form, this.#held), grammarAfter: undefined }
    }
    if (!this.#isStrict) return { grammar: undefined, grammarAfter: undefined }
    if (this.#format.pythonic === 'own') {
      const param = this.#asked.places.strict(this.#asked.functions.findIndex(({ strict }) => strict))
      throw new QuartetError(
        'unsupported_parameter',
        `${param}: this model writes calls as Python when it is free to; leave it out, or make it call with ${this.#asked.places.choice}`,
        { param },
      )
    }
    return {
      grammar: textWithCalls(this.#held),
      grammarAfter: isLate && this.#marker !== undefined ? [this.#marker] : undefined,
    }
  }

  /** A reader of one answer; undefined where nothing may be called. */
  reader(): AnswerCalls | undefined {
    if (!this.#mayCall) return undefined
    const calls = new AnswerCalls({
      format: this.#format,
      offered: new Set(this.#offered.map(({ name }) => name)),
      isParallel: this.#asked.isParallel,
      isExact: this.#isStrict && !this.#mustCall,
      isHeld: this.#isStrict || this.#mustCall,
    })
    calls.push(this.#opening)
    return calls
  }

  get #held(): HeldCalls {
    const { functions, places } = this.#asked
    return {
      format: this.#format,
      functions: this.#offered,
      paramOf: (definition) => places.schema(functions.indexOf(definition)),
      isMany: this.#isMany,
      isMarkerSpecial: this.#marker !== undefined && !this.#format.isBare,
    }
  }
}

function offered({ choice, functions }: AskedTools): readonly FunctionDefinition[] {
  if (choice === 'none') return []
  return typeof choice === 'string' ? functions : functions.filter(({ name }) => name === choice.name)
}

function checkTools({ choice, functions, places }: AskedTools): void {
  const refuse = (param: string, why: string): never => {
    throw new QuartetError('invalid_request', `${param}: ${why}`, { param })
  }
  const seen = new Map<string, number>()
  for (const [index, { name }] of functions.entries()) {
    const first = seen.get(name)
    if (first !== undefined)
      refuse(places.name(index), `is the name of ${places.name(first)}, too; give each function its own`)
    seen.set(name, index)
  }
  if (JSON.stringify(functions).length > maxToolsLength)
    refuse('tools', `take more than ${maxToolsLength} characters together; describe fewer, or more briefly`)
  if (choice === 'required' && functions.length === 0)
    refuse(places.choice, 'needs tools, of which there are none')
  if (typeof choice === 'object' && !seen.has(choice.name))
    refuse(places.choice, `names ${JSON.stringify(choice.name)}, which is not among the tools`)
}

const shownFunction = ({ description = '', name, parameters = {} }: FunctionDefinition): ShownFunction => ({
  name,
  description,
  parameters: Object.keys(parameters).length === 0 ? { type: 'object', properties: {} } : parameters,
})
