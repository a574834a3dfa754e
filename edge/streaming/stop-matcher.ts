/**
 * Finds the first stop string to be completed in a text that arrives in pieces, and lets through only what can no
 * longer become part of one. The result does not depend on where the pieces were cut.
 */
export class StopMatcher {
  readonly #stops: readonly string[]
  #held = ''
  #matched: string | undefined

  constructor(stops: readonly string[]) {
    this.#stops = stops
  }

  /** The stop string that was completed. */
  get matched(): string | undefined {
    return this.#matched
  }

  get stopped(): boolean {
    return this.#matched !== undefined
  }

  /** The text that may be shown now. After a stop string nothing is. */
  push(piece: string): string {
    if (this.stopped) return ''
    const text = this.#held + piece
    const cut = this.#firstStop(text)
    if (cut !== undefined) {
      this.#matched = cut.stop
      this.#held = ''
      return text.slice(0, cut.start)
    }
    const shown = text.length - openLength(text, this.#stops)
    this.#held = text.slice(shown)
    return text.slice(0, shown)
  }

  /** The text that was held back when it ended without a stop string. */
  finish(): string {
    const held = this.#held
    this.#held = ''
    return held
  }

  /** The stop string that ends first, and where it begins; if two end together, the longer one. */
  #firstStop(text: string): { readonly stop: string; readonly start: number } | undefined {
    let best: { stop: string; start: number; end: number } | undefined
    for (const stop of this.#stops) {
      const start = text.indexOf(stop)
      if (start === -1) continue
      const end = start + stop.length
      if (best === undefined || end < best.end || (end === best.end && start < best.start))
        best = { stop, start, end }
    }
    return best
  }
}

/** Length of the longest end of `text` that begins one of `strings` and is not the whole of it. */
export function openLength(text: string, strings: readonly string[]): number {
  let open = 0
  for (const each of strings)
    for (let length = Math.min(each.length - 1, text.length); length > open; length--)
      if (text.endsWith(each.slice(0, length))) open = length
  return open
}
