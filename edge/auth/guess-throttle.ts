/** Wrong keys an address may send at once, and how fast it earns new tries. */
const burst = 20
const earnEveryMs = 3_000

const rows = 2
const columns = 4_096

/**
 * Slows down clients that try keys. Each address has a bucket of tries, kept in a sketch of fixed size (count-min): an
 * address shares each of its two cells with others and is held back only when both are empty, so that one guesser
 * rarely holds back another address, and many never fill the memory. Each isolate counts for itself.
 */
export class GuessThrottle {
  readonly #tries = new Float64Array(rows * columns).fill(burst)
  readonly #at = new Float64Array(rows * columns)
  /** The seed is random: no client can choose an address that shares cells with another's. */
  readonly #seeds = crypto.getRandomValues(new Uint32Array(rows))

  /** Seconds until the address may try again; undefined when it may. */
  wait(address: string, door: string): number | undefined {
    const tries = Math.max(...this.#cells(address, door).map((cell) => this.#earned(cell)))
    return tries >= 1 ? undefined : Math.ceil(((1 - tries) * earnEveryMs) / 1_000)
  }

  /** Notes a wrong key. */
  failed(address: string, door: string): void {
    for (const cell of this.#cells(address, door)) this.#tries[cell] = Math.max(0, this.#earned(cell) - 1)
  }

  #earned(cell: number): number {
    const now = Date.now()
    const elapsed = Math.max(0, now - (this.#at[cell] ?? 0))
    const tries = Math.min(burst, (this.#tries[cell] ?? burst) + elapsed / earnEveryMs)
    this.#tries[cell] = tries
    this.#at[cell] = now
    return tries
  }

  #cells(address: string, door: string): number[] {
    const network = `${door}/${networkOf(address)}`
    return Array.from(this.#seeds, (seed, row) => row * columns + (hash(network, seed) % columns))
  }
}

/** An IPv6 client has a network of its own, 64 bits of address. */
function networkOf(address: string): string {
  if (!address.includes(':')) return address
  const [head = '', tail = ''] = address.split('::')
  const groups = (text: string) => text.split(':').filter((group) => group !== '')
  const [first, last] = [groups(head), groups(tail)]
  const zeros = Array.from({ length: Math.max(0, 8 - first.length - last.length) }, () => '0')
  return [...first, ...zeros, ...last].slice(0, 4).join(':')
}

/** MurmurHash3's mixing over UTF-16 units. */
function hash(text: string, seed: number): number {
  let bits = seed
  for (let at = 0; at < text.length; at++) {
    bits = Math.imul(bits ^ text.charCodeAt(at), 0xcc9e2d51)
    bits = Math.imul((bits << 13) | (bits >>> 19), 5) + 0xe6546b64
  }
  bits = Math.imul(bits ^ (bits >>> 16), 0x85ebca6b)
  bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35)
  return (bits ^ (bits >>> 16)) >>> 0
}
