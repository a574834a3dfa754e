import type { TokenCount } from '../../shared/api/files.ts'
import type { EdgeBackbone } from '../../shared/backbone.ts'
import { QuartetError } from '../../shared/errors.ts'
import type { TextCodec } from '../../shared/tokenizer/text-codec.ts'
import {
  encodeRow,
  lengthProblem,
  promptFormatOf,
  type ServingEncoder,
  servedEncoder,
} from '../../shared/training/prompt-encoder.ts'
import type { Row } from '../../shared/training/row.ts'
import type { ExampleLine } from './line-check.ts'

/** The text of examples whose tokens are counted, by each backbone: a conversation is read anew for each of its answers. */
const countedText = 1024 * 1024
/** The text that is tokenized without a break. Lengths of text are in UTF-16 units. */
const turnText = 8 * 1024

export interface Tokenizing {
  readonly backbone: EdgeBackbone
  readonly codec: TextCodec
  /** Prompt rows that an adapter takes of the context. */
  readonly promptRows: number
}

export type Counted = Omit<TokenCount, 'estimate'>

/**
 * Counts the tokens of a file of examples while it arrives, as trainers will read it. The beginning of a large file
 * stands for the rest.
 */
export class TokenCounts {
  readonly #counts: readonly BackboneCount[]
  #waiting: WaitingRow[] = []
  /** All examples, and those of them that are counted. */
  readonly #all = { rows: 0, text: 0 }
  readonly #counted = { rows: 0, text: 0 }

  constructor(backbones: readonly Tokenizing[]) {
    this.#counts = backbones.map((each) => new BackboneCount(each))
  }

  add({ line, rows }: ExampleLine): void {
    if (this.#counts.length === 0) return
    for (const row of rows) {
      const text = textOf(row)
      const isCounted = this.#counted.text < countedText
      for (const sum of isCounted ? [this.#all, this.#counted] : [this.#all]) {
        sum.rows += 1
        sum.text += text
      }
      if (isCounted) this.#waiting.push({ line, row, text })
    }
  }

  /** Counts what was added. `giveTurn` lets other work of the isolate go on in between. */
  async count(giveTurn: () => Promise<void>): Promise<void> {
    const rows = this.#waiting
    this.#waiting = []
    let sinceTurn = 0
    for (const waiting of rows)
      for (const count of this.#counts) {
        count.add(waiting)
        sinceTurn += waiting.text
        if (sinceTurn < turnText) continue
        sinceTurn = 0
        await giveTurn()
      }
  }

  get result(): readonly Counted[] {
    const of = (what: 'rows' | 'text') =>
      this.#counted[what] === 0 ? 1 : this.#all[what] / this.#counted[what]
    return this.#counts.map((count) => count.result({ examples: of('rows'), tokens: of('text') }))
  }
}

/** An answer to count, and the length of all that is read for it. */
interface WaitingRow {
  readonly line: number
  readonly row: Row
  readonly text: number
}

function textOf({ answer, prompt }: Row): number {
  if (prompt.type === 'text') return prompt.text.length + answer.length
  return prompt.messages.reduce((sum, { content }) => sum + content.length + messageText, answer.length)
}

/** A template writes about so much around a message. */
const messageText = 16

class BackboneCount {
  readonly #backbone: EdgeBackbone
  readonly #encoder: ServingEncoder
  readonly #room: number
  #examples = 0
  #tokens = 0
  #problem: string | undefined
  #problems = 0

  constructor({ backbone, codec, promptRows }: Tokenizing) {
    this.#backbone = backbone
    this.#encoder = servedEncoder(backbone, codec)
    this.#room = backbone.contextLength - promptRows
  }

  add({ line, row }: WaitingRow): void {
    const read = this.#tokensOf(row)
    if (typeof read === 'number') {
      this.#examples += 1
      this.#tokens += read
      return
    }
    this.#problems += 1
    this.#problem ??= `line ${line}: ${read.problem}`
  }

  /** `factors`: how many examples, and how much of their text, there are for each that was counted. */
  result(factors: { readonly examples: number; readonly tokens: number }): Counted {
    const more = this.#problems > 1 ? ` (and ${this.#problems - 1} more)` : ''
    return {
      backbone: this.#backbone.slug,
      examples: Math.round(this.#examples * factors.examples),
      tokens: Math.round(this.#tokens * factors.tokens),
      is_exact: factors.examples === 1,
      problem: this.#problem === undefined ? null : `${this.#problem}${more}`,
    }
  }

  #tokensOf(row: Row): number | { readonly problem: string } {
    try {
      const example = encodeRow(row, { encoder: this.#encoder, prompts: promptFormatOf(this.#backbone) })
      const problem = lengthProblem(example, { room: this.#room })
      return problem === undefined ? example.instruction.length + example.response.length : { problem }
    } catch (thrown) {
      if (thrown instanceof QuartetError) return { problem: thrown.message }
      throw thrown
    }
  }
}
