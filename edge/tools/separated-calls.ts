import type { AnswerPiece, CallCounter, CallReader } from './call-pieces.ts'
import { JsonNesting } from './json-nesting.ts'

const separators = { id: '[CALL_ID]', arguments: '[ARGS]' } as const
/** A function's name, and the id that some models write behind it. */
const head = /^\s*([A-Za-z0-9_.-]+)\s*(?:\[CALL_ID\]\s*[A-Za-z0-9_-]*\s*)?$/
const longestHead = 256

/** One call as `name[ARGS]{…}`, `name[CALL_ID]id[ARGS]{…}`, or `name{…}`. */
export class SeparatedCall implements CallReader {
  readonly #counter: CallCounter
  readonly #pieces: AnswerPiece[] = []
  #head = ''
  #call: number | undefined
  readonly #arguments = new JsonNesting()
  readonly rest = ''
  status: CallReader['status'] = 'more'

  constructor(counter: CallCounter) {
    this.#counter = counter
  }

  push(text: string): number {
    let told = ''
    let at = 0
    for (; at < text.length && this.status === 'more'; at++) {
      const character = text.charAt(at)
      if (this.#call === undefined && character !== '{') this.#readHead(character)
      else if (this.#call === undefined && !this.#begin(this.#head)) break
      else if (!this.#arguments.isOpen && character !== '{') {
        if (!/\s/.test(character)) {
          this.status = 'over'
          break
        }
      } else {
        told += character
        if (this.#arguments.closesWith(character)) this.status = 'over'
      }
    }
    if (told !== '' && this.#call !== undefined)
      this.#pieces.push({ type: 'arguments', call: this.#call, text: told })
    return at
  }

  take(): AnswerPiece[] {
    return this.#pieces.splice(0)
  }

  #readHead(character: string): void {
    this.#head += character
    if (this.#head.endsWith(separators.arguments))
      this.#begin(this.#head.slice(0, -separators.arguments.length))
    else if (!this.#mayGoOn()) this.status = 'none'
  }

  /** Tells of the call whose name and id stand in front of its arguments; false where they are none. */
  #begin(front: string): boolean {
    const [, name] = head.exec(front) ?? []
    if (name === undefined || !this.#counter.isOffered(name)) {
      this.status = 'none'
      return false
    }
    this.#call = this.#counter.next()
    this.#pieces.push({ type: 'call', call: this.#call, name })
    return true
  }

  /** Whether the text so far can still become a call. */
  #mayGoOn(): boolean {
    if (this.#head.length > longestHead) return false
    const plain = this.#head.replace(separators.id, '')
    const open = plain.indexOf('[')
    if (open === -1) return /^[\sA-Za-z0-9_.-]*$/.test(plain)
    const begun = plain.slice(open)
    return Object.values(separators).some((separator) => separator.startsWith(begun))
  }
}
