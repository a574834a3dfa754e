import { notFinite } from '../../shared/adapter-file.ts'
import { elementBytes, type SafeTensorsHeader } from '../../shared/safetensors.ts'

interface Range {
  readonly name: string
  readonly start: number
  readonly end: number
  readonly half: boolean
}

/**
 * Looks for NaN and infinity in a file's tensors while the file arrives, in chunks that are cut anywhere. The exponent
 * of a little-endian f16 lies in its last byte, that of an f32 in its last byte and the top bit of the one before.
 */
export class FiniteCheck {
  readonly #ranges: readonly Range[]
  #at = 0
  #range = 0
  #last = 0

  constructor({ entries }: SafeTensorsHeader) {
    this.#ranges = [...entries]
      .map(([name, { dtype, end, start }]) => ({ name, start, end, half: dtype === 'F16' }))
      .sort((a, b) => a.start - b.start)
  }

  /** The next bytes of the file, from its first on. Throws `adapter_invalid` that names the tensor. */
  push(chunk: Uint8Array): void {
    const begin = this.#at
    const end = begin + chunk.length
    for (let range = this.#ranges[this.#range]; range !== undefined; range = this.#ranges[this.#range]) {
      if (range.start < end) this.#scan(chunk, { begin, range })
      if (range.end > end) break
      this.#range += 1
    }
    this.#at = end
    this.#last = chunk.at(-1) ?? this.#last
  }

  #scan(chunk: Uint8Array, { begin, range }: { begin: number; range: Range }): void {
    const size = elementBytes[range.half ? 'F16' : 'F32']
    const from = Math.max(range.start, begin)
    // The first byte at or after `from` that ends an element.
    const first = from + ((((range.start - from - 1) % size) + size) % size)
    const to = Math.min(range.end, begin + chunk.length)
    for (let at = first; at < to; at += size) {
      const high = chunk[at - begin] ?? 0
      if (
        range.half
          ? (high & 0x7c) === 0x7c
          : (high & 0x7f) === 0x7f && this.#before(chunk, at - begin) >= 0x80
      )
        throw notFinite(range.name)
    }
  }

  #before(chunk: Uint8Array, at: number): number {
    return at === 0 ? this.#last : (chunk[at - 1] ?? 0)
  }
}
