/** Logits that runs have given, one behind the other: those of a real vocabulary are more than a call takes as arguments. */
export class Logits {
  readonly #parts: Float32Array[] = []

  /** A backend's are valid until its next call. */
  add(logits: Float32Array): void {
    this.#parts.push(Float32Array.from(logits))
  }

  all(): Float32Array {
    const all = new Float32Array(this.#parts.reduce((sum, { length }) => sum + length, 0))
    let at = 0
    for (const part of this.#parts) {
      all.set(part, at)
      at += part.length
    }
    return all
  }
}

/** The largest difference of two logits at the same place; NaN where one of them is NaN or is missing. */
export function largestDifference(expected: Float32Array, found: Float32Array): number {
  if (expected.length !== found.length) return Number.NaN
  return expected.reduce((worst, x, at) => Math.max(worst, Math.abs(x - (found[at] ?? Number.NaN))), 0)
}

/** How far logits lie apart in all, against their size; NaN as above. */
export function differenceOfSize(expected: Float32Array, found: Float32Array): number {
  if (expected.length !== found.length) return Number.NaN
  const apart = expected.reduce((sum, x, at) => sum + (x - (found[at] ?? Number.NaN)) ** 2, 0)
  return Math.sqrt(apart / expected.reduce((sum, x) => sum + x * x, 0))
}
