const remembered = 128
/** A p95 of fewer times says little. */
const minSamples = 20
const buckets = 20

/** Times to first token that this isolate saw, apart for each size of prompt (powers of two), as prefill decides them. */
export class FirstTokenTimes {
  readonly #rings = Array.from({ length: buckets }, () => ({ times: [] as number[], next: 0 }))
  readonly #sorted = new Map<number, readonly number[]>()

  observed(promptTokens: number, ms: number): void {
    const bucket = bucketOf(promptTokens)
    const ring = this.#rings[bucket]
    if (ring === undefined) return
    ring.times[ring.next] = ms
    ring.next = (ring.next + 1) % remembered
    if (ring.next % 8 === 0) this.#sorted.delete(bucket)
  }

  /** The 95th percentile in milliseconds; undefined while too little was seen. */
  p95(promptTokens: number): number | undefined {
    const bucket = bucketOf(promptTokens)
    const times = this.#rings[bucket]?.times ?? []
    if (times.length < minSamples) return undefined
    let sorted = this.#sorted.get(bucket)
    if (sorted === undefined) {
      sorted = [...times].sort((a, b) => a - b)
      this.#sorted.set(bucket, sorted)
    }
    return sorted[Math.floor(sorted.length * 0.95)]
  }
}

const bucketOf = (promptTokens: number) =>
  Math.min(buckets - 1, Math.floor(Math.log2(Math.max(1, promptTokens))))
