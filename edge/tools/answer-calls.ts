import { openLength } from '../streaming/stop-matcher.ts'
import type { AnswerPiece, CallReader } from './call-pieces.ts'
import { JsonCalls } from './json-calls.ts'
import { PythonicCalls } from './pythonic-calls.ts'
import { SeparatedCall } from './separated-calls.ts'
import { jsonFence, type ToolFormat } from './tool-format.ts'

export interface AnswerCallsOptions {
  readonly format: ToolFormat
  /** Names of the functions that may be called. */
  readonly offered: ReadonlySet<string>
  /** Further calls of one answer are left out. */
  readonly isParallel: boolean
  /** Only what a grammar holds the model to is taken for a call. */
  readonly isExact: boolean
  /** A grammar lets nothing but a call follow a call's beginning. */
  readonly isHeld: boolean
}

/** Calls that are being read. */
interface Reading {
  readonly calls: CallReader
  /** The text read so far, as long as it may turn out to be no call. */
  begun: string
  isTold: boolean
}

/**
 * Tells the calls of an answer from its text, while it comes. A text that looks like a call and is none stays text;
 * white space around calls is left out. The pieces joined do not depend on where the text was cut.
 */
export class AnswerCalls {
  readonly #options: AnswerCallsOptions
  readonly #markers: readonly string[]
  /** Text that is not told from a call yet. */
  #held = ''
  /** White space that counts only when text follows. */
  #gap = ''
  #reader: Reading | undefined
  #isAtStart: boolean
  #calls = 0
  #hasShownCall = false

  constructor(options: AnswerCallsOptions) {
    this.#options = options
    const { format, isExact } = options
    this.#isAtStart = format.isBare || (!isExact && format.isReadBare === true)
    this.#markers = options.isExact ? options.format.markers.slice(0, 1) : options.format.markers
  }

  /** Whether the answer has called a function. */
  get hasCalled(): boolean {
    return this.#calls > 0
  }

  push(text: string): AnswerPiece[] {
    this.#held += text
    return this.#shown(this.#advance(false))
  }

  finish(): AnswerPiece[] {
    const pieces = this.#advance(true)
    if (!this.hasCalled && this.#gap !== '') pieces.push({ type: 'text', text: this.#gap })
    this.#gap = ''
    return this.#shown(pieces)
  }

  #advance(isEnd: boolean): AnswerPiece[] {
    const pieces: AnswerPiece[] = []
    for (;;) {
      const [held, reader, isAtStart] = [this.#held.length, this.#reader, this.#isAtStart]
      if (reader !== undefined) pieces.push(...this.#read(reader, isEnd))
      else if (isAtStart) this.#begin(isEnd)
      else pieces.push(...this.#seek(isEnd))
      if (held === this.#held.length && reader === this.#reader && isAtStart === this.#isAtStart) break
    }
    return pieces
  }

  /** An answer that may be a call without a marker begins with a bracket, or with a fence in front of one. */
  #begin(isEnd: boolean): void {
    const text = this.#held.trimStart()
    const { format, isExact } = this.#options
    const openings = isExact ? ['{"name": "', '[{"name": "'] : ['{', '[']
    const fences = format.isReadBare === true ? [jsonFence] : []
    if (!isEnd && ([...openings, ...fences].some((each) => each.startsWith(text)) || !this.#showsForm(text)))
      return
    const fence = fences.find((each) => text.startsWith(each))
    const behind = text.slice(fence?.length ?? 0)
    if (!isEnd && !this.#showsForm(behind)) return
    this.#isAtStart = false
    if (!openings.some((each) => behind.trimStart().startsWith(each))) return
    const front = this.#held.slice(0, this.#held.length - behind.length)
    this.#held = behind
    this.#open()
    if (this.#reader !== undefined) this.#reader.begun = front
  }

  /** Whether a text is long enough to tell how its calls are written. */
  #showsForm(text: string): boolean {
    return (
      text.trim().length >
      (this.#options.format.pythonic !== undefined && text.trim().startsWith('[') ? 1 : 0)
    )
  }

  #open(): void {
    const counter = {
      isOffered: (name: string) => this.#options.offered.has(name),
      next: () => this.#calls++,
    }
    const { isSeparated, pythonic } = this.#options.format
    const calls =
      isSeparated === true && /^\s*[A-Za-z_]/.test(this.#held)
        ? new SeparatedCall(counter)
        : pythonic !== undefined && /^\s*\[?\s*[A-Za-z_]/.test(this.#held)
          ? new PythonicCalls(counter)
          : new JsonCalls(counter)
    this.#reader = { calls, begun: '', isTold: false }
  }

  /** Text up to a marker, or as far as it cannot begin one. */
  #seek(isEnd: boolean): AnswerPiece[] {
    const found = this.#markers
      .map((marker) => ({ marker, at: this.#held.indexOf(marker) }))
      .filter(({ at }) => at !== -1)
      .toSorted((a, b) => a.at - b.at)
    const [first] = found
    const shown = first?.at ?? this.#held.length - (isEnd ? 0 : openLength(this.#held, this.#markers))
    const pieces = this.#text(this.#held.slice(0, shown))
    this.#held = this.#held.slice(shown)
    if (first === undefined) return pieces
    this.#marked(first.marker, isEnd, pieces)
    return pieces
  }

  #marked(marker: string, isEnd: boolean, pieces: AnswerPiece[]): void {
    const behind = this.#held.slice(marker.length)
    if (!this.#showsForm(behind) && !isEnd) return
    this.#held = behind
    if (behind.trim() === '') {
      pieces.push(...this.#text(`${marker}${behind}`))
      this.#held = ''
      return
    }
    this.#open()
    if (this.#reader !== undefined) this.#reader.begun = marker
  }

  #read(reader: Reading, isEnd: boolean): AnswerPiece[] {
    const count = reader.calls.push(this.#held)
    const pieces = reader.calls.take()
    if (pieces.length > 0) reader.isTold = true
    reader.begun += this.#held.slice(0, count)
    this.#held = this.#held.slice(count)
    const isNone = reader.calls.status === 'none' || (isEnd && reader.calls.status === 'more')
    if (isNone && !reader.isTold) {
      this.#reader = undefined
      const isCutOff = this.#options.isHeld && reader.calls.status === 'more'
      return isCutOff ? [] : this.#text(reader.begun)
    }
    if (pieces.length > 0) {
      this.#gap = ''
      // The call is certain now, so none of this can become text.
      reader.begun = ''
    }
    if (reader.calls.status === 'over') {
      pieces.push(...this.#text(reader.calls.rest))
      this.#close(isEnd)
    }
    return pieces
  }

  /** Takes what stands behind calls and means nothing, once that is known. */
  #close(isEnd: boolean): void {
    const { closers } = this.#options.format
    const text = this.#held.trimStart()
    const closer = closers.find((each) => text.startsWith(each))
    if (closer !== undefined) this.#held = text.slice(closer.length)
    else if (!isEnd && closers.some((each) => each.startsWith(text))) return
    this.#reader = undefined
  }

  #text(text: string): AnswerPiece[] {
    const trimmed = text.trimEnd()
    if (trimmed === '') {
      this.#gap += text
      return []
    }
    const shown = this.#gap + trimmed
    this.#gap = text.slice(trimmed.length)
    return [{ type: 'text', text: shown }]
  }

  #shown(pieces: readonly AnswerPiece[]): AnswerPiece[] {
    if (this.#options.isParallel) return [...pieces]
    return pieces.filter((piece) => {
      if (piece.type !== 'text') this.#hasShownCall = true
      return piece.type === 'text' ? !this.#hasShownCall : piece.call === 0
    })
  }
}
