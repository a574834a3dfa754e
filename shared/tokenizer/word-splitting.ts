import { toByteCharacters } from './byte-characters.ts'
import type { WordStage } from './tokenizer-tables.ts'

/** Splits a text further. `first`: the text begins where the whole text does. */
type Splitter = (text: string, first: boolean) => Iterable<string>

/** A text's words, each found when it is asked for, so a reader that stops early pays for no more. */
export function splitting(stages: readonly WordStage[]): Splitter {
  const splitters = stages.map(splitter)
  function* from(at: number, text: string, first: boolean): Generator<string, void> {
    const split = splitters[at]
    if (split === undefined) return yield text
    if (at === splitters.length - 1) return yield* split(text, first)
    let begins = first
    for (const piece of split(text, first)) {
      yield* from(at + 1, piece, begins)
      begins = false
    }
  }
  return (text, first) => from(0, text, first)
}

function splitter(stage: WordStage): Splitter {
  switch (stage.type) {
    case 'split':
      return patternSplitter(stage)
    case 'metaspace':
      return metaspaceSplitter(stage)
    case 'prefix-space':
      return (text) => [text.startsWith(' ') ? text : ` ${text}`]
    case 'byte-characters':
      return (text) => [toByteCharacters(new TextEncoder().encode(text))]
  }
}

type PatternStage = Extract<WordStage, { type: 'split' }>

function patternSplitter({ pattern, behavior, invert }: PatternStage): Splitter {
  const expression = new RegExp(pattern, 'gu')
  if (behavior === 'isolated') return (text) => texts(pieces(text, expression))
  const join = joins[behavior]
  return (text) => join(inverted(pieces(text, expression), invert))
}

interface Piece {
  readonly text: string
  readonly matches: boolean
}

/** The pattern's matches, and the text between them. */
function* pieces(text: string, pattern: RegExp): Generator<Piece, void> {
  let from = 0
  for (const { 0: match, index } of text.matchAll(pattern)) {
    if (from < index) yield { text: text.slice(from, index), matches: false }
    if (match !== '') yield { text: match, matches: true }
    from = index + match.length
  }
  if (from < text.length) yield { text: text.slice(from), matches: false }
}

function* inverted(found: Iterable<Piece>, invert: boolean): Generator<Piece, void> {
  for (const { text, matches } of found) yield { text, matches: matches !== invert }
}

function* texts(found: Iterable<Piece>): Generator<string, void> {
  for (const { text } of found) yield text
}

/** `SplitDelimiterBehavior` of Hugging Face's tokenizers (tokenizer/normalizer.rs). */
const joins: Readonly<
  Record<Exclude<PatternStage['behavior'], 'isolated'>, (found: Iterable<Piece>) => Generator<string, void>>
> = {
  *removed(found) {
    for (const { text, matches } of found) if (!matches) yield text
  },
  *contiguous(found) {
    yield* joined(found, (last, next) => last.matches === next.matches)
  },
  *'merged-with-previous'(found) {
    yield* joined(found, (last, next) => next.matches && !last.matches)
  },
  *'merged-with-next'(found) {
    yield* joined(found, (last, next) => last.matches && !next.matches)
  },
}

/** Pieces, each joined to the one before where `belongs` says so of their last parts. */
function* joined(
  found: Iterable<Piece>,
  belongs: (last: Piece, next: Piece) => boolean,
): Generator<string, void> {
  let text = ''
  let last: Piece | undefined
  for (const next of found) {
    if (last !== undefined && !belongs(last, next)) {
      yield text
      text = ''
    }
    text += next.text
    last = next
  }
  if (last !== undefined) yield text
}

function metaspaceSplitter({ prepend, space, split }: Extract<WordStage, { type: 'metaspace' }>): Splitter {
  const spaces = new RegExp(space.replace(/[.*+?^${}()|[\]\\/]/g, '\\$&'), 'gu')
  return (text, first) => {
    const replaced = text.replaceAll(' ', space)
    const wanted = prepend === 'always' || (prepend === 'first' && first)
    const whole = wanted && !replaced.startsWith(space) ? space + replaced : replaced
    return split ? joins['merged-with-next'](pieces(whole, spaces)) : [whole]
  }
}
