import { z } from 'zod'

/** Upper bounds, in milliseconds, of the histogram of times to first token; longer times go into one more bucket. */
const firstTokenBounds = [
  5, 10, 20, 35, 50, 75, 100, 150, 200, 350, 500, 750, 1_000, 2_000, 3_500, 5_000, 10_000, 30_000, 60_000,
] as const

/** How many times fell into each bucket. */
const Histogram = z.array(z.int().min(0))

export const emptyHistogram = (): number[] => Array.from({ length: firstTokenBounds.length + 1 }, () => 0)

export const readHistogram = (json: string): number[] => Histogram.parse(JSON.parse(json))

export function bucketOf(ms: number): number {
  const at = firstTokenBounds.findIndex((bound) => ms <= bound)
  return at === -1 ? firstTokenBounds.length : at
}

/** The q-quantile (0 to 1) as far as buckets tell: interpolated inside its bucket. null without any. */
export function histogramQuantile(counts: readonly number[], q: number): number | null {
  const total = counts.reduce((sum, count) => sum + count, 0)
  if (total === 0) return null
  let below = 0
  for (const [at, count] of counts.entries()) {
    if (count > 0 && below + count >= q * total) {
      const lower = firstTokenBounds[at - 1] ?? 0
      const upper = firstTokenBounds[at] ?? lower
      return lower + (upper - lower) * ((q * total - below) / count)
    }
    below += count
  }
  return firstTokenBounds.at(-1) ?? null
}
