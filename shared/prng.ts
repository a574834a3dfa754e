/**
 * xoshiro128++ 1.0 (Blackman and Vigna, "Scrambled Linear Pseudorandom Number Generators", 2019), seeded through
 * SplitMix32. One per sequence, so that a draw depends on the seed and on how many came before, on nothing else.
 */
export class Random {
  readonly #state = new Uint32Array(4)

  /** `seed`: any whole number up to 2^53 - 1; all its bits count. */
  constructor(seed: number) {
    let mixed = Math.imul(Math.floor(seed / 0x100000000) ^ 0x85ebca6b, 0x9e3779b1) ^ (seed >>> 0)
    for (let word = 0; word < 4; word++) {
      mixed = (mixed + 0x9e3779b9) | 0
      let z = mixed
      z = Math.imul(z ^ (z >>> 16), 0x21f0aaad)
      z = Math.imul(z ^ (z >>> 15), 0x735a2d97)
      this.#state[word] = z ^ (z >>> 15)
    }
  }

  /** Uniform in [0, 1), 53 bits. */
  next(): number {
    return ((this.#word() >>> 5) * 0x4000000 + (this.#word() >>> 6)) / 0x20000000000000
  }

  #word(): number {
    const [a = 0, b = 0, c = 0, d = 0] = this.#state
    const sum = (a + d) | 0
    const result = (((sum << 7) | (sum >>> 25)) + a) >>> 0
    const c1 = c ^ a
    const d1 = d ^ b
    this.#state[0] = a ^ d1
    this.#state[1] = b ^ c1
    this.#state[2] = c1 ^ (b << 9)
    this.#state[3] = (d1 << 11) | (d1 >>> 21)
    return result
  }
}
