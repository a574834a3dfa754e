import type { ChoiceDelta } from '../streaming/read-choice.ts'
import type { AnswerCalls } from '../tools/answer-calls.ts'
import type { AnswerPiece } from '../tools/call-pieces.ts'
import type { ItemEvent, ResponseItems } from './response-items.ts'

type Told = Pick<ChoiceDelta, 'text' | 'tokens'>

/** Puts an answer in which functions may be called into items. Tokens go with the next piece that their text becomes part of. */
export class ResponseCalls {
  readonly #reader: AnswerCalls
  readonly #items: ResponseItems
  readonly #waiting: ChoiceDelta['tokens'][number][] = []

  constructor(reader: AnswerCalls, items: ResponseItems) {
    this.#reader = reader
    this.#items = items
  }

  add({ text, tokens }: Told): ItemEvent[] {
    this.#waiting.push(...tokens)
    return this.#put(this.#reader.push(text))
  }

  end(): ItemEvent[] {
    const events = this.#put(this.#reader.finish())
    this.#items.keep(this.#waiting.splice(0))
    return events
  }

  #put(pieces: readonly AnswerPiece[]): ItemEvent[] {
    return pieces.flatMap((piece) => this.#items.add(piece, this.#waiting.splice(0)))
  }
}

/** A whole answer token by token, as far as its tokens are known. */
export function* byToken({ text, tokens }: Told): Generator<Told> {
  if (tokens.length === 0) yield { text, tokens }
  const characters = tokens.length === 0 ? [] : [...text]
  for (const [at, token] of tokens.entries()) {
    const from = at === 0 ? 0 : token.offset
    const end = tokens[at + 1]?.offset ?? characters.length
    yield { text: characters.slice(from, end).join(''), tokens: [token] }
  }
}
