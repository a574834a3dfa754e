import { BatchLine } from '../../shared/api/batches.ts'
import { type FilePurpose, maxLineBytes } from '../../shared/api/files.ts'
import { QuartetError } from '../../shared/errors.ts'
import { RefusedJson } from '../../shared/json-depth.ts'
import { parseRow, type Row } from '../../shared/training/row.ts'
import { parseUniqueNames } from '../../shared/unique-names.ts'

const newline = 10
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: false })

/** The examples of a line's value, which a file of requests has none of; or the problem with it. */
const readers: Readonly<Record<FilePurpose, (value: unknown) => Read>> = {
  'fine-tune': parseRow,
  batch: (value) => {
    const { error } = BatchLine.safeParse(value)
    const issue = error?.issues[0]
    return issue === undefined
      ? { rows: [] }
      : { problem: `${issue.path.join('.') || 'the line'}: ${issue.message}` }
  },
}
type Read = { readonly rows: readonly Row[] } | { readonly problem: string }

/** The examples of one line. */
export interface ExampleLine {
  readonly line: number
  readonly rows: readonly Row[]
}

/** Checks a file of JSON lines while it arrives, holding one line of it. Throws `training_data_invalid` at the first line at fault. */
export class LineCheck {
  readonly #read: (value: unknown) => Read
  readonly #examples: ((line: ExampleLine) => void) | undefined
  #begun: Uint8Array[] = []
  #begunBytes = 0
  #line = 1
  /** Lines that hold something. */
  count = 0

  /** `examples` is told of each line that holds some. */
  constructor(purpose: FilePurpose, examples?: (line: ExampleLine) => void) {
    this.#read = readers[purpose]
    this.#examples = examples
  }

  push(chunk: Uint8Array): void {
    let from = 0
    for (let end = chunk.indexOf(newline); end >= 0; end = chunk.indexOf(newline, from)) {
      this.#keep(chunk.subarray(from, end))
      this.#finishLine()
      from = end + 1
    }
    this.#keep(chunk.slice(from))
  }

  /** The file is complete. */
  end(): void {
    if (this.#begunBytes > 0) this.#finishLine()
    if (this.count === 0)
      throw new QuartetError(
        'training_data_invalid',
        'the file holds no lines; write one JSON object per line',
        { param: 'file' },
      )
  }

  #keep(piece: Uint8Array): void {
    if (piece.length === 0) return
    this.#begunBytes += piece.length
    if (this.#begunBytes > maxLineBytes)
      throw this.#wrong(`it has more than ${maxLineBytes} bytes; a line is one JSON object`)
    this.#begun.push(piece)
  }

  #finishLine(): void {
    const bytes = new Uint8Array(this.#begunBytes)
    let at = 0
    for (const piece of this.#begun) {
      bytes.set(piece, at)
      at += piece.length
    }
    this.#begun = []
    this.#begunBytes = 0
    const text = this.#text(bytes).trim()
    if (text !== '') {
      const read = this.#read(this.#json(text))
      if ('problem' in read) throw this.#wrong(read.problem)
      this.count += 1
      this.#examples?.({ line: this.#line, rows: read.rows })
    }
    this.#line += 1
  }

  #text(bytes: Uint8Array): string {
    try {
      return decoder.decode(bytes)
    } catch {
      throw this.#wrong('it is not UTF-8; send a text file with one JSON object per line')
    }
  }

  #json(text: string): unknown {
    try {
      return parseUniqueNames(text)
    } catch (thrown) {
      if (thrown instanceof RefusedJson) throw this.#wrong(`${thrown.message}; ${thrown.remedy}`)
      throw this.#wrong('it is not JSON; write one JSON object per line (JSONL)')
    }
  }

  #wrong(problem: string): QuartetError {
    return new QuartetError('training_data_invalid', `line ${this.#line}: ${problem}`, { param: 'file' })
  }
}
