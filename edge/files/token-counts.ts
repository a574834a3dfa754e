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

/** Bytes of a file whose tokens are counted, by each backbone. */
const countedBytes = 1024 * 1024
/** The bytes that are tokenized without a break. */
const turnBytes = 8 * 1024

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
  #waiting: ExampleLine[] = []
  #bytes = 0
  #counted = 0

  constructor(backbones: readonly Tokenizing[]) {
    this.#counts = backbones.map((each) => new BackboneCount(each))
  }

  add(line: ExampleLine): void {
    this.#bytes += line.bytes
    if (this.#counted >= countedBytes || this.#counts.length === 0) return
    this.#counted += line.bytes
    this.#waiting.push(line)
  }

  /** Counts what was added. `giveTurn` lets other work of the isolate go on in between. */
  async count(giveTurn: () => Promise<void>): Promise<void> {
    const lines = this.#waiting
    this.#waiting = []
    let sinceTurn = 0
    for (const line of lines)
      for (const count of this.#counts) {
        count.add(line)
        sinceTurn += line.bytes
        if (sinceTurn < turnBytes) continue
        sinceTurn = 0
        await giveTurn()
      }
  }

  get result(): readonly Counted[] {
    const factor = this.#counted === 0 ? 1 : this.#bytes / this.#counted
    return this.#counts.map((count) => count.result(factor))
  }
}

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

  add({ line, rows }: ExampleLine): void {
    for (const row of rows) {
      const read = this.#tokensOf(row)
      if (typeof read === 'number') {
        this.#examples += 1
        this.#tokens += read
        continue
      }
      this.#problems += 1
      this.#problem ??= `line ${line}: ${read.problem}`
    }
  }

  /** `factor`: bytes of the file for each byte that was counted. */
  result(factor: number): Counted {
    const more = this.#problems > 1 ? ` (and ${this.#problems - 1} more)` : ''
    return {
      backbone: this.#backbone.slug,
      examples: Math.round(this.#examples * factor),
      tokens: Math.round(this.#tokens * factor),
      is_exact: factor === 1,
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
