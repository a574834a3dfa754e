import type { AnswerPiece, CallCounter, CallReader } from './call-pieces.ts'

type Place = 'start' | 'name' | 'key' | 'value' | 'between' | 'end'

/** Calls written as a list of Python's: `[f(a=1, b="x"), g()]`. Arguments go out one by one, as JSON. */
export class PythonicCalls implements CallReader {
  readonly #counter: CallCounter
  readonly #pieces: AnswerPiece[] = []
  #place: Place = 'start'
  #word = ''
  #value = ''
  #quote = ''
  #isEscaped = false
  #depth = 0
  #call: number | undefined
  #hasArguments = false
  #calls = 0
  #text = ''
  status: CallReader['status'] = 'more'

  constructor(counter: CallCounter) {
    this.#counter = counter
  }

  push(text: string): number {
    let at = 0
    for (; at < text.length && this.status === 'more'; at++) {
      const character = text.charAt(at)
      if (this.#place === 'end' || !this.#read(character)) {
        this.status = this.#calls === 0 && this.#call === undefined ? 'none' : 'over'
        break
      }
      this.#text += character
    }
    return at
  }

  get rest(): string {
    return this.#place !== 'end' && this.#call === undefined ? this.#text : ''
  }

  take(): AnswerPiece[] {
    return this.#pieces.splice(0)
  }

  #read(character: string): boolean {
    const isSpace = /\s/.test(character)
    switch (this.#place) {
      case 'start':
        if (character === '[') this.#place = 'name'
        return isSpace || character === '['
      case 'name':
        if (character === '(') return this.#begin()
        if (!isSpace) this.#word += character
        return isSpace || /[\w.-]/.test(character)
      case 'key':
        if (character === ')' && this.#word === '') return this.#end()
        if (character === '=') this.#place = 'value'
        else if (!isSpace && character !== ',') this.#word += character
        return isSpace || /[\w,=]/.test(character)
      case 'value':
        return this.#valueCharacter(character)
      case 'between':
        if (character === ']') this.#place = 'end'
        else if (character === ',') this.#place = 'name'
        return isSpace || character === ']' || character === ','
      case 'end':
        return false
    }
  }

  #begin(): boolean {
    if (!this.#counter.isOffered(this.#word)) return false
    this.#call = this.#counter.next()
    this.#pieces.push({ type: 'call', call: this.#call, name: this.#word })
    this.#word = ''
    this.#hasArguments = false
    this.#place = 'key'
    return true
  }

  #valueCharacter(character: string): boolean {
    if (this.#quote === '' && this.#depth === 0 && (character === ',' || character === ')')) {
      this.#tell(`${JSON.stringify(this.#word)}: ${pythonAsJson(this.#value.trim())}`)
      this.#word = ''
      this.#value = ''
      this.#place = 'key'
      return character === ')' ? this.#end() : true
    }
    this.#value += character
    if (this.#quote !== '') {
      if (character === this.#quote && !this.#isEscaped) this.#quote = ''
      this.#isEscaped = character === '\\' && !this.#isEscaped
    } else if (character === '"' || character === "'") this.#quote = character
    else if ('([{'.includes(character)) this.#depth += 1
    else if (')]}'.includes(character)) this.#depth -= 1
    return this.#depth >= 0
  }

  #tell(text: string): void {
    if (this.#call === undefined) return
    this.#pieces.push({
      type: 'arguments',
      call: this.#call,
      text: `${this.#hasArguments ? ', ' : '{'}${text}`,
    })
    this.#hasArguments = true
  }

  #end(): boolean {
    if (this.#call !== undefined)
      this.#pieces.push({ type: 'arguments', call: this.#call, text: this.#hasArguments ? '}' : '{}' })
    this.#call = undefined
    this.#calls += 1
    this.#text = ''
    this.#place = 'between'
    return true
  }
}

/** A Python literal as JSON. Any other text becomes a string. */
function pythonAsJson(literal: string): string {
  const reader = { text: literal, at: 0 }
  const value = readLiteral(reader)
  skipSpace(reader)
  return JSON.stringify(value === undefined || reader.at < literal.length ? literal : value)
}

interface Reader {
  readonly text: string
  at: number
}

type Json = string | number | boolean | null | Json[] | { [key: string]: Json }

const words: Readonly<Record<string, Json>> = {
  True: true,
  False: false,
  None: null,
  true: true,
  false: false,
  null: null,
}

/** Undefined for what is no literal. */
function readLiteral(reader: Reader): Json | undefined {
  skipSpace(reader)
  const character = reader.text.charAt(reader.at)
  if (character === '"' || character === "'") return readString(reader, character)
  if (character === '[' || character === '(') return readItems(reader, character === '[' ? ']' : ')')
  if (character === '{') return readObject(reader)
  const word = /^[-+\w.]+/.exec(reader.text.slice(reader.at))?.[0]
  if (word === undefined) return undefined
  reader.at += word.length
  if (Object.hasOwn(words, word)) return words[word]
  const number = Number(word.replaceAll('_', ''))
  return Number.isFinite(number) ? number : undefined
}

function readString(reader: Reader, quote: string): string | undefined {
  let text = ''
  for (reader.at += 1; reader.at < reader.text.length; reader.at++) {
    const character = reader.text.charAt(reader.at)
    if (character === quote) {
      reader.at += 1
      return text
    }
    text += character === '\\' ? escaped(reader) : character
  }
  return undefined
}

const letters: Readonly<Record<string, string>> = {
  n: '\n',
  t: '\t',
  r: '\r',
  '\\': '\\',
  '"': '"',
  "'": "'",
}

function escaped(reader: Reader): string {
  reader.at += 1
  const letter = reader.text.charAt(reader.at)
  const digits = letter === 'x' ? 2 : letter === 'u' ? 4 : 0
  const code = reader.text.slice(reader.at + 1, reader.at + 1 + digits)
  if (digits > 0 && code.length === digits && /^[\da-f]+$/i.test(code)) {
    reader.at += digits
    return String.fromCharCode(Number.parseInt(code, 16))
  }
  return letters[letter] ?? `\\${letter}`
}

function readItems(reader: Reader, end: string): Json[] | undefined {
  const items: Json[] = []
  for (reader.at += 1; ; ) {
    if (takes(reader, end)) return items
    const item = readLiteral(reader)
    if (item === undefined) return undefined
    items.push(item)
    if (!takes(reader, ',') && !isNext(reader, end)) return undefined
  }
}

function readObject(reader: Reader): { [key: string]: Json } | undefined {
  const entries: [string, Json][] = []
  for (reader.at += 1; ; ) {
    if (takes(reader, '}')) return Object.fromEntries(entries)
    const key = readLiteral(reader)
    if (key === undefined || !takes(reader, ':')) return undefined
    const value = readLiteral(reader)
    if (value === undefined) return undefined
    entries.push([typeof key === 'string' ? key : JSON.stringify(key), value])
    if (!takes(reader, ',') && !isNext(reader, '}')) return undefined
  }
}

function isNext(reader: Reader, character: string): boolean {
  skipSpace(reader)
  return reader.text.charAt(reader.at) === character
}

function takes(reader: Reader, character: string): boolean {
  if (!isNext(reader, character)) return false
  reader.at += 1
  return true
}

function skipSpace(reader: Reader): void {
  while (/\s/.test(reader.text.charAt(reader.at))) reader.at += 1
}
