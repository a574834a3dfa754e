import { byteSequences, codePointOf, writtenCharacter } from './byte-classes.ts'

/** A terminal, a reference to a rule or a repeated reference, as xgrammar prints it. Literals hold one character each. */
type Element = string

interface Rule {
  readonly name: string
  readonly alternatives: readonly (readonly Element[])[]
  /** The assertion behind the body, with its parentheses, or nothing. */
  readonly lookahead: string
  /** Whether its classes are of bytes, not of characters. */
  readonly unit: 'byte' | 'character'
}

/** The name of a rule that matches nothing but the empty text. */
const nothing = 'quartet_nothing'

/**
 * The same grammar, with no two alternatives of a rule that begin alike. xgrammar up to 0.1.33 merges states of such a
 * rule's automaton that are not equal (its pull requests 632 and 911): `"1" | "10" | "23"` takes 20, too. The newest
 * build for WebAssembly is 0.1.27.
 *
 * @param printed what `Grammar.toString()` writes: `name ::= ((element element) | (element))`, a rule a line.
 */
export function withDistinctAlternatives(printed: string): string {
  const rules: Rule[] = []
  const kept: string[] = []
  for (const statement of printed.split(/\n(?=[\w.-]+ ::= )/)) {
    if (statement.trim() === '') continue
    const rule = parsed(statement)
    if (rule === undefined) kept.push(statement)
    else rules.push(rule)
  }
  const taken = new Set([...printed.matchAll(/^([\w.-]+) ::= /gm)].map(([, name]) => name))
  let count = 0
  const fresh = (of: string): string => {
    for (;;) {
      count += 1
      const name = `${of.slice(0, 64)}_q${count}`
      if (!taken.has(name)) return name
    }
  }
  const done: Rule[] = [{ name: nothing, alternatives: [[]], lookahead: '', unit: 'character' }]
  for (let rule = rules.pop(); rule !== undefined; rule = rules.pop()) {
    const { parts, whole } = separated(rule, fresh)
    rules.push(...parts)
    done.push(whole)
  }
  return [...kept, ...notInlined(done).map(written)].join('\n')
}

/** The rule with distinct alternatives, and the new rules that it refers to. */
function separated(
  { alternatives, lookahead, name, unit }: Rule,
  fresh: (of: string) => string,
): { whole: Rule; parts: readonly Rule[] } {
  const parts: Rule[] = []
  const part = (rests: Rule['alternatives'], of: Rule['unit'] = unit): Element => {
    const rule = { name: fresh(name), alternatives: rests, lookahead: '', unit: of }
    parts.push(rule)
    return rule.name
  }
  const star = (element: Element): Element => {
    const rule = fresh(name)
    parts.push({ name: rule, alternatives: [[], [element, rule]], lookahead: '', unit })
    return rule
  }
  const classes = new Map<Element, Element>()
  const inBytes = (element: Element): Element => {
    const known = classes.get(element)
    if (known !== undefined || unit === 'byte' || !element.startsWith('[')) return known ?? element
    const isStar = element.endsWith('*')
    const bytes = byteSequences(isStar ? element.slice(0, -1) : element)
    if (bytes === undefined) return element
    const once = part(bytes, 'byte')
    classes.set(element, isStar ? star(once) : once)
    return classes.get(element) ?? element
  }
  const groups = Map.groupBy(
    alternatives.map((each) => each.map(inBytes)),
    ([first]) => first ?? '',
  )
  const factored = [...groups.values()].map((group) => {
    const [first = [], ...others] = group
    if (others.length === 0) return first
    const prefix = first.slice(0, commonLength(group))
    const rests = new Map(group.map((each) => [each.join(' '), each.slice(prefix.length)]))
    return rests.size === 1 ? first : [...prefix, part([...rests.values()])]
  })
  const spread = factored.filter(([first]) => first !== undefined && mayShareBytes(first)).length
  const whole = factored.map((alternative) => {
    const [first, ...rest] = alternative
    if (first === undefined) return alternative
    if (first.endsWith('*')) {
      // A loop at the start of an automaton is merged wrongly as well.
      return [star(first.slice(0, -1)), ...rest]
    }
    return spread > 1 && mayShareBytes(first) ? [part([alternative])] : alternative
  })
  return { whole: { name, alternatives: whole, lookahead, unit }, parts }
}

function commonLength(sequences: readonly (readonly Element[])[]): number {
  const [first = []] = sequences
  const differs = first.findIndex((element, at) => sequences.some((each) => each[at] !== element))
  return differs === -1 ? first.length : differs
}

/** Characters beyond ASCII share their first bytes, and automata are made of bytes. */
const mayShareBytes = (element: Element): boolean =>
  element.startsWith('[^') || (element.startsWith('"') && codePointOf(element.slice(1, -1)) > 0x7f)

/** xgrammar puts a rule of terminals alone in the place of a reference that leads: alternatives would begin alike again. */
function notInlined(rules: readonly Rule[]): readonly Rule[] {
  const leading = new Set(rules.flatMap(({ alternatives }) => alternatives.map(([first]) => first)))
  return rules.map((rule) => {
    const [first = [], ...others] = rule.alternatives
    const isInlined =
      leading.has(rule.name) &&
      rule.alternatives.every((each) => each.length > 0 && each.every((element) => /^["[]/.test(element)))
    return isInlined ? { ...rule, alternatives: [[...first, nothing], ...others] } : rule
  })
}

const token = /\s*("(?:\\.|[^"\\])*"|\[(?:\\.|[^\]\\])*\]\*?|[\w.-]+(?:\{\d+, \d+\})?|\(=|[()|])/y

/** Undefined for a rule of another form (the dispatch of tags), which has no alternatives. */
function parsed(statement: string): Rule | undefined {
  const [, name = '', body = ''] = /^([\w.-]+) ::= ([\s\S]*)$/.exec(statement) ?? []
  const alternatives: Element[][] = []
  let sequence: Element[] = []
  let depth = 0
  for (token.lastIndex = 0; token.lastIndex < body.length; ) {
    const found = token.exec(body)?.[1]
    if (found === undefined) return undefined
    if (found === '(') depth += 1
    else if (found === ')') depth -= 1
    else if (found === '|') {
      alternatives.push(sequence)
      sequence = []
    } else if (found.startsWith('"')) {
      for (const [each] of found.slice(1, -1).matchAll(writtenCharacter)) sequence.push(literal(each))
    } else sequence.push(found)
    if (depth === 0) {
      const rest = body.slice(token.lastIndex).trim()
      if (rest !== '' && !/^\(=[\s\S]*\)$/.test(rest)) return undefined
      return { name, alternatives: [...alternatives, sequence], lookahead: rest, unit: 'character' }
    }
  }
  return undefined
}

/** Writes a character by its number if xgrammar reads its own form in another way: `\xe8a` as one character. */
function literal(character: string): Element {
  const code = codePointOf(character)
  return /^[\w !#-/:-@[\]^`{-~]$/.test(character)
    ? `"${character}"`
    : `"\\U${code.toString(16).padStart(8, '0')}"`
}

function written({ alternatives, lookahead, name }: Rule): string {
  const body = alternatives.map((each) => (each.length === 0 ? '""' : joined(each))).join(' | ')
  return `${name} ::= ${body}${lookahead === '' ? '' : ` ${lookahead}`}`
}

/** Characters that follow one another as one literal. */
function joined(elements: readonly Element[]): string {
  const runs: string[] = []
  for (const element of elements) {
    const last = runs.at(-1)
    if (last?.startsWith('"') === true && element.startsWith('"'))
      runs[runs.length - 1] = `${last.slice(0, -1)}${element.slice(1)}`
    else runs.push(element)
  }
  return runs.join(' ')
}
