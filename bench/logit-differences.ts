/** The largest difference of two logits at the same place; NaN where one of them is NaN or is missing. */
export function largestDifference(expected: readonly number[], found: readonly number[]): number {
  if (expected.length !== found.length) return Number.NaN
  return expected.reduce((worst, x, at) => Math.max(worst, Math.abs(x - (found[at] ?? Number.NaN))), 0)
}

/** How far logits lie apart in all, against their size; NaN as above. */
export function differenceOfSize(expected: readonly number[], found: readonly number[]): number {
  if (expected.length !== found.length) return Number.NaN
  const squares = (values: readonly number[]) => values.reduce((sum, x) => sum + x * x, 0)
  return Math.sqrt(squares(expected.map((x, at) => x - (found[at] ?? Number.NaN))) / squares(expected))
}
