import type { AnswerPiece, CallCounter, CallReader } from './call-pieces.ts'
import { JsonNesting } from './json-nesting.ts'

type Place =
  /** Stands in front of a call or behind one. */
  | 'between'
  | 'before-key'
  | 'key'
  | 'before-colon'
  | 'before-value'
  | 'string'
  | 'nested'
  | 'bare'
  | 'behind-value'

const isSpace = (character: string) => /\s/.test(character)
const argumentKeys: ReadonlySet<string> = new Set(['arguments', 'parameters'])

/**
 * Calls written as JSON: an object with `name` and `arguments` (or `parameters`), several of them, or a list. A call is
 * told of once its name is known, its arguments as they come; one of a function that was not offered is none.
 */
export class JsonCalls implements CallReader {
  readonly #counter: CallCounter
  readonly #pieces: AnswerPiece[] = []
  #place: Place = 'between'
  #nesting = new JsonNesting()
  #isInList = false
  #isEscaped = false
  #key = ''
  #value = ''
  /** Arguments that came in front of the name. */
  #early: string | undefined
  #call: number | undefined
  #hasArguments = false
  #calls = 0
  /** The text of the call that is being read. */
  #text = ''
  status: CallReader['status'] = 'more'

  constructor(counter: CallCounter) {
    this.#counter = counter
  }

  push(text: string): number {
    let at = 0
    for (; at < text.length && this.status === 'more'; at++) {
      const character = text.charAt(at)
      if (!this.#read(character)) {
        this.status = this.#calls === 0 && this.#call === undefined ? 'none' : 'over'
        break
      }
      this.#text += character
    }
    this.#flush()
    return at
  }

  get rest(): string {
    return this.#place !== 'between' && this.#call === undefined ? this.#text : ''
  }

  take(): AnswerPiece[] {
    return this.#pieces.splice(0)
  }

  /** Whether the character goes on with a call. */
  #read(character: string): boolean {
    switch (this.#place) {
      case 'between':
        return this.#between(character)
      case 'before-key':
        if (isSpace(character) || character === ',') return true
        if (character === '}') return this.#endCall()
        if (character !== '"') return false
        this.#key = ''
        this.#place = 'key'
        return true
      case 'key':
        if (character === '"' && !this.#isEscaped) this.#place = 'before-colon'
        else this.#key += character
        this.#isEscaped = character === '\\' && !this.#isEscaped
        return true
      case 'before-colon':
        if (character === ':') this.#place = 'before-value'
        return character === ':' || isSpace(character)
      case 'before-value':
        if (isSpace(character)) return true
        return this.#beginValue(character)
      case 'string':
        this.#add(character)
        if (character === '"' && !this.#isEscaped) this.#endValue()
        this.#isEscaped = character === '\\' && !this.#isEscaped
        return true
      case 'nested':
        this.#nested(character)
        return true
      case 'bare':
        if (!isSpace(character) && character !== ',' && character !== '}') {
          this.#add(character)
          return true
        }
        this.#endValue()
        return this.#read(character)
      case 'behind-value':
        if (isSpace(character)) return true
        if (character === '}') return this.#endCall()
        this.#place = 'before-key'
        return character === ','
    }
  }

  #between(character: string): boolean {
    if (character === '{') {
      this.#place = 'before-key'
      this.#text = ''
      this.#early = undefined
      this.#call = undefined
      this.#hasArguments = false
      return true
    }
    if (character === '[' && !this.#isInList && this.#calls === 0) {
      this.#isInList = true
      return true
    }
    if (character === ']' && this.#isInList) {
      this.#isInList = false
      return this.#calls > 0
    }
    return isSpace(character) || (this.#calls > 0 && (character === ',' || character === ';'))
  }

  #beginValue(character: string): boolean {
    this.#value = ''
    this.#isEscaped = false
    if (character === '"') this.#place = 'string'
    else if (character === '{' || character === '[') {
      this.#place = 'nested'
      this.#nesting = new JsonNesting()
      this.#nested(character)
      return true
    } else if (/[-\d\w]/.test(character)) this.#place = 'bare'
    else return false
    this.#add(character)
    return true
  }

  #nested(character: string): void {
    this.#add(character)
    if (this.#nesting.closesWith(character)) this.#endValue()
  }

  #add(character: string): void {
    this.#value += character
  }

  /** Arguments that are written as an object go out while they come. */
  #flush(): void {
    if (this.#place !== 'nested' || this.#call === undefined || !argumentKeys.has(this.#key)) return
    this.#tell(this.#value)
    this.#value = ''
  }

  #endValue(): void {
    const wasNested = this.#place === 'nested'
    this.#place = 'behind-value'
    if (argumentKeys.has(this.#key)) {
      const text = wasNested ? this.#value : argumentsOf(this.#value)
      if (this.#call === undefined) this.#early = text
      else this.#tell(text)
    } else if (this.#key === 'name') this.#named(parsed(this.#value))
    this.#value = ''
  }

  #named(name: unknown): void {
    if (typeof name !== 'string' || !this.#counter.isOffered(name) || this.#call !== undefined) return
    this.#call = this.#counter.next()
    this.#pieces.push({ type: 'call', call: this.#call, name })
    if (this.#early !== undefined) this.#tell(this.#early)
  }

  #tell(text: string): void {
    if (this.#call === undefined || text === '') return
    this.#hasArguments = true
    this.#pieces.push({ type: 'arguments', call: this.#call, text })
  }

  #endCall(): boolean {
    if (this.#call === undefined) return false
    if (!this.#hasArguments) this.#tell('{}')
    this.#calls += 1
    this.#call = undefined
    this.#place = 'between'
    return true
  }
}

/** Some models write arguments as a string that holds JSON, or as nothing. */
function argumentsOf(value: string): string {
  if (value === 'null') return '{}'
  const text = value.startsWith('"') ? parsed(value) : value
  return typeof text === 'string' ? text : value
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
