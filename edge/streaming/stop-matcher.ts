/**
 * Finds the first stop string to be completed in a text that arrives in pieces, and lets through only what can no
 * longer become part of one. The result does not depend on where the pieces were cut.
 */
export class StopMatcher {
  readonly #stops: readonly string[]
  #held = ''
  #stopped = false

  constructor(stops: readonly string[]) {
    this.#stops = stops
  }

  get stopped(): boolean {
    return this.#stopped
  }

  /** The text that may be shown now. After a stop string nothing is. */
  push(piece: string): string {
    if (this.#stopped) return ''
    const text = this.#held + piece
    const cut = this.#firstStop(text)
    if (cut !== undefined) {
      this.#stopped = true
      this.#held = ''
      return text.slice(0, cut)
    }
    const shown = text.length - this.#openLength(text)
    this.#held = text.slice(shown)
    return text.slice(0, shown)
  }

  /** What was held back when the text ended without a stop string. */
  finish(): string {
    const held = this.#held
    this.#held = ''
    return held
  }

  /** Where the stop string begins that ends first; of two that end together, the longer. */
  #firstStop(text: string): number | undefined {
    let best: { start: number; end: number } | undefined
    for (const stop of this.#stops) {
      const start = text.indexOf(stop)
      if (start === -1) continue
      const end = start + stop.length
      if (best === undefined || end < best.end || (end === best.end && start < best.start))
        best = { start, end }
    }
    return best?.start
  }

  /** Length of the longest end of `text` that begins a stop string. */
  #openLength(text: string): number {
    let open = 0
    for (const stop of this.#stops)
      for (let length = Math.min(stop.length - 1, text.length); length > open; length--)
        if (text.endsWith(stop.slice(0, length))) open = length
    return open
  }
}
