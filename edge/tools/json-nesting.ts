/** Follows a JSON object or list character by character, from its opening bracket to the one that closes it. */
export class JsonNesting {
  #depth = 0
  #isQuoted = false
  #isEscaped = false

  /** Whether a bracket is open. */
  get isOpen(): boolean {
    return this.#depth > 0
  }

  /** Whether this character closes the value. */
  closesWith(character: string): boolean {
    if (this.#isQuoted) {
      if (character === '"' && !this.#isEscaped) this.#isQuoted = false
      this.#isEscaped = character === '\\' && !this.#isEscaped
    } else if (character === '"') this.#isQuoted = true
    else if (character === '{' || character === '[') this.#depth += 1
    else if (character === '}' || character === ']') {
      this.#depth -= 1
      return this.#depth === 0
    }
    return false
  }
}
