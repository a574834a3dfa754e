/**
 * Regular expressions of `tokenizer.json`, which are Oniguruma's (https://github.com/kkos/oniguruma/blob/master/doc/RE),
 * as JavaScript's with the flag `u`. They differ in white space (U+0085 is, U+FEFF is not), digits, word characters, the
 * dot, line anchors, case folding of a group, and possessive quantifiers. Throws on what it does not know.
 */
export function fromOniguruma(pattern: string): string {
  const source = new Translation(Array.from(pattern)).run()
  new RegExp(source, 'gu')
  return source
}

/** A text as a pattern that matches it. */
export const literally = (text: string): string => text.replace(/[.*+?^${}()|[\]\\/]/g, '\\$&')

const wordCharacters = '\\p{L}\\p{M}\\p{N}\\p{Pc}'

/** The meaning of each letter behind a backslash, outside a class of characters and within one. */
const escapes: Readonly<Record<string, { readonly outside: string; readonly within?: string }>> = {
  s: { outside: '\\p{White_Space}', within: '\\p{White_Space}' },
  S: { outside: '\\P{White_Space}', within: '\\P{White_Space}' },
  d: { outside: '\\p{Nd}', within: '\\p{Nd}' },
  D: { outside: '\\P{Nd}', within: '\\P{Nd}' },
  w: { outside: `[${wordCharacters}]`, within: wordCharacters },
  W: { outside: `[^${wordCharacters}]` },
  h: { outside: '[0-9a-fA-F]', within: '0-9a-fA-F' },
  A: { outside: '^' },
  z: { outside: '$' },
  r: { outside: '\\r', within: '\\r' },
  n: { outside: '\\n', within: '\\n' },
  t: { outside: '\\t', within: '\\t' },
  f: { outside: '\\f', within: '\\f' },
  v: { outside: '\\v', within: '\\v' },
}

/** Letters that fold to an ASCII letter beside its capital. */
const furtherCases: Readonly<Record<string, string>> = { s: 'ſ', k: '\u212a' }

interface Group {
  /** Where it begins in the output. */
  readonly start: number
  readonly atomic: boolean
  /** Whether case counted outside. */
  readonly foldsOutside: boolean
}

class Translation {
  readonly #in: readonly string[]
  #at = 0
  #out = ''
  /** Where the last atom begins in the output, which a quantifier is about. */
  #atom = 0
  #folds = false
  #captures = 0
  readonly #groups: Group[] = []

  constructor(characters: readonly string[]) {
    this.#in = characters
  }

  run(): string {
    while (this.#at < this.#in.length) this.#step()
    if (this.#groups.length > 0) throw new Error('a group is not closed')
    return this.#out
  }

  #next(): string {
    const character = this.#in[this.#at++]
    if (character === undefined) throw new Error('the pattern ends too early')
    return character
  }

  #follows(text: string): boolean {
    return this.#in.slice(this.#at, this.#at + text.length).join('') === text
  }

  #take(text: string): boolean {
    const follows = this.#follows(text)
    if (follows) this.#at += text.length
    return follows
  }

  #put(atom: string): void {
    this.#atom = this.#out.length
    this.#out += atom
  }

  #step(): void {
    const character = this.#next()
    switch (character) {
      case '\\':
        this.#put(this.#escape('outside'))
        break
      case '[':
        this.#put(this.#class())
        break
      case '(':
        this.#open()
        break
      case ')':
        this.#close()
        break
      case '.':
        this.#put('[^\\n]')
        break
      case '^':
        this.#put('(?:^|(?<=\\n))')
        break
      case '$':
        this.#put('(?=\\n|$)')
        break
      case '|':
        this.#out += '|'
        break
      case '*':
      case '+':
      case '?':
        this.#quantify(character)
        break
      case '{':
        this.#braces()
        break
      default:
        this.#put(this.#folds ? folded(character) : literally(character))
        break
    }
  }

  #braces(): void {
    const rest = this.#in.slice(this.#at, this.#at + 24).join('')
    const count = /^(\d*)(,?)(\d*)\}/.exec(rest)
    if (count === null || (count[1] === '' && count[3] === '')) {
      this.#put('\\{')
      return
    }
    this.#at += count[0].length
    this.#out += `{${count[1] === '' ? '0' : count[1]}${count[2]}${count[3]}}`
    this.#out += this.#take('?') ? '?' : ''
    if (this.#follows('+')) throw new Error('a + behind a count is not supported')
  }

  #quantify(quantifier: string): void {
    if (this.#take('+')) this.#seal(`${this.#out.slice(this.#atom)}${quantifier}`, this.#atom)
    else this.#out += quantifier + (this.#take('?') ? '?' : '')
  }

  /** Gives nothing back of what it once matched: a look ahead is never entered again. */
  #seal(source: string, start: number): void {
    this.#captures += 1
    const name = `once${this.#captures}`
    this.#out = this.#out.slice(0, start)
    this.#put(`(?:(?=(?<${name}>${source}))\\k<${name}>)`)
  }

  #open(): void {
    const start = this.#out.length
    const outer = { start, foldsOutside: this.#folds }
    if (this.#take('?>')) {
      this.#groups.push({ ...outer, atomic: true })
      return
    }
    for (const kind of ['?:', '?=', '?!', '?<=', '?<!'])
      if (this.#take(kind)) {
        this.#groups.push({ ...outer, atomic: false })
        this.#out += `(${kind}`
        return
      }
    if (this.#take('?i)')) {
      this.#folds = true
      return
    }
    const folds = this.#take('?i:')
    if (!folds && this.#follows('?'))
      throw new Error(`the group (${this.#in.slice(this.#at, this.#at + 3).join('')} is not supported`)
    this.#groups.push({ ...outer, atomic: false })
    this.#out += '(?:'
    this.#folds ||= folds
  }

  #close(): void {
    const group = this.#groups.pop()
    if (group === undefined) throw new Error('a ) closes nothing')
    this.#folds = group.foldsOutside
    if (group.atomic) {
      this.#seal(this.#out.slice(group.start), group.start)
      return
    }
    this.#out += ')'
    this.#atom = group.start
  }

  #escape(place: 'outside' | 'within'): string {
    const letter = this.#next()
    const known = Object.hasOwn(escapes, letter) ? escapes[letter]?.[place] : undefined
    if (known !== undefined) return known
    if (letter === 'p' || letter === 'P') return this.#property(letter)
    if (letter === 'x' || letter === 'u') return this.#codePoint(letter)
    if (/[A-Za-z0-9]/.test(letter)) throw new Error(`\\${letter} is not supported`)
    return place === 'within' && letter === '-' ? '\\-' : literally(letter)
  }

  #codePoint(letter: string): string {
    const rest = this.#in.slice(this.#at, this.#at + 10).join('')
    const digits = (letter === 'x' ? /^(?:\{([0-9a-f]{1,6})\}|([0-9a-f]{2}))/i : /^()([0-9a-f]{4})/i).exec(
      rest,
    )
    if (digits === null) throw new Error(`\\${letter} without digits`)
    this.#at += digits[0].length
    return `\\u{${digits[1] || digits[2]}}`
  }

  #property(letter: string): string {
    const rest = this.#in.slice(this.#at, this.#at + 48).join('')
    const named = /^(?:\{(\^?)([A-Za-z_]+)\}|()([A-Z]))/.exec(rest)
    if (named === null) throw new Error(`\\${letter} without a property`)
    this.#at += named[0].length
    const name = named[2] ?? named[4] ?? ''
    const sign = (letter === 'P') !== (named[1] === '^') ? 'P' : 'p'
    const script = isProperty(name) ? name : `Script=${name}`
    if (!isProperty(script)) throw new Error(`the property ${name} is not supported`)
    return `\\${sign}{${script}}`
  }

  #class(): string {
    let source = this.#take('^') ? '[^' : '['
    for (let first = true; ; first = false) {
      const character = this.#next()
      if (character === ']' && !first) return `${source}]`
      if (character === '[' || (character === '&' && this.#follows('&')))
        throw new Error('classes within classes are not supported')
      if (character === '\\') source += this.#escape('within')
      else if (character === '-') source += '-'
      else source += this.#folds ? folded(character).replace(/^\[|\]$/g, '') : literally(character)
    }
  }
}

function isProperty(name: string): boolean {
  try {
    new RegExp(`\\p{${name}}`, 'u')
    return true
  } catch {
    return false
  }
}

/** A character in both cases. */
function folded(character: string): string {
  const lower = character.toLowerCase()
  const upper = character.toUpperCase()
  if (lower === upper) return literally(character)
  return `[${lower}${upper}${furtherCases[lower] ?? ''}]`
}
