import { argmax, exp2Negative, negligibleBits } from '../../model/runtime/logits.ts'

/** A temperature below this is as good as greedy and must not overflow. */
const leastTemperature = 1e-6

/** Buckets of a weight in (0, 1]: its f32 exponent and five bits of mantissa, a monotone function of the weight. */
const bucketShift = 18
const buckets = (0x3f800000 >>> bucketShift) + 1

/**
 * The next token's distribution while the sampling stages narrow it: logits first, then the weights of the tokens
 * still in play. One workspace for all sequences; nothing outlives the choice of one token.
 *
 * The heaviest tokens are found by a histogram over weights, never by sorting the vocabulary.
 */
export class Distribution {
  /** [vocab] */
  readonly logits: Float32Array
  /** The weights of the `#count` tokens in play, relative to the heaviest, in (0, 1]. */
  readonly #weights: Float32Array
  readonly #weightBits: Uint32Array
  readonly #ids: Int32Array
  #count = 0
  /** Sum of the weights in play. */
  #mass = 0
  readonly #bucketMass = new Float64Array(buckets)

  constructor(vocab: number) {
    this.logits = new Float32Array(vocab)
    this.#weights = new Float32Array(vocab)
    this.#weightBits = new Uint32Array(this.#weights.buffer)
    this.#ids = new Int32Array(vocab)
  }

  /** Starts over from `logits` [vocab], which stay untouched. */
  load(logits: Float32Array): void {
    this.logits.set(logits)
    this.#count = 0
  }

  /** Turns logits into weights, softmax(logits / temperature) up to a factor. Throws `node_error` as `argmax` does. */
  soften(temperature: number): void {
    const { logits } = this
    const ids = this.#ids
    const weights = this.#weights
    const best = logits[argmax(logits)] ?? Number.NaN
    const scale = Math.LOG2E / Math.max(temperature, leastTemperature)
    let count = 0
    let mass = 0
    for (let id = 0; id < logits.length; id++) {
      const bits = (best - (logits[id] ?? Number.NEGATIVE_INFINITY)) * scale
      if (!(bits < negligibleBits)) continue
      ids[count] = id
      const weight = exp2Negative(bits)
      weights[count++] = weight
      mass += weight
    }
    this.#count = count
    this.#mass = mass
  }

  /** Keeps the `limit` heaviest tokens. */
  keepHeaviest(limit: number): void {
    if (limit < this.#count) this.#keepFrom(() => 1, limit)
  }

  /** Keeps the fewest heaviest tokens that hold at least `fraction` of the mass in play. */
  keepMass(fraction: number): void {
    this.#keepFrom((weight) => weight, fraction * this.#mass)
  }

  /** Keeps the tokens at least `fraction` as likely as the likeliest. */
  keepAtLeast(fraction: number): void {
    const before = this.#startOver()
    for (let at = 0; at < before; at++) {
      const weight = this.#weights[at] ?? 0
      if (weight >= fraction) this.#keep(this.#ids[at] ?? 0, weight)
    }
  }

  /** The token whose share of the mass in play holds `uniform`, a number in [0, 1). */
  draw(uniform: number): number {
    let left = uniform * this.#mass
    for (let at = 0; at < this.#count; at++) {
      left -= this.#weights[at] ?? 0
      if (left < 0) return this.#ids[at] ?? 0
    }
    return this.#ids[this.#count - 1] ?? 0
  }

  /** Keeps the heaviest tokens until their measures add up to `target`; among equal weights the lower id goes first. */
  #keepFrom(measure: (weight: number) => number, target: number): void {
    const bucketMass = this.#bucketMass.fill(0)
    for (let at = 0; at < this.#count; at++) {
      const bucket = (this.#weightBits[at] ?? 0) >>> bucketShift
      bucketMass[bucket] = (bucketMass[bucket] ?? 0) + measure(this.#weights[at] ?? 0)
    }
    let border = buckets - 1
    let sum = 0
    while (border > 0 && sum + (bucketMass[border] ?? 0) < target) sum += bucketMass[border--] ?? 0
    const onBorder: { id: number; weight: number }[] = []
    const before = this.#startOver()
    for (let at = 0; at < before; at++) {
      const bucket = (this.#weightBits[at] ?? 0) >>> bucketShift
      if (bucket < border) continue
      const id = this.#ids[at] ?? 0
      const weight = this.#weights[at] ?? 0
      if (bucket > border) this.#keep(id, weight)
      else onBorder.push({ id, weight })
    }
    onBorder.sort((a, b) => b.weight - a.weight || a.id - b.id)
    for (const { id, weight } of onBorder) {
      if (sum >= target && this.#count > 0) break
      this.#keep(id, weight)
      sum += measure(weight)
    }
  }

  /** Takes all tokens out of play, to put back those to keep from left to right; how many there were. */
  #startOver(): number {
    const count = this.#count
    this.#count = 0
    this.#mass = 0
    return count
  }

  #keep(id: number, weight: number): void {
    this.#ids[this.#count] = id
    this.#weights[this.#count++] = weight
    this.#mass += weight
  }
}
