import { floatTypeOf, notFinite } from '../../shared/adapter-file.ts'
import { allFinite, type FloatType } from '../../shared/finite.ts'
import { elementBytes, type SafeTensorsHeader } from '../../shared/safetensors.ts'

interface Range {
  readonly name: string
  /** Bytes of the file. */
  readonly start: number
  readonly end: number
  readonly type: FloatType
}

/** Looks for NaN and infinity in a file's tensors while the file arrives, in chunks that are cut anywhere. */
export class FiniteCheck {
  readonly #ranges: readonly Range[]
  /** Bytes of the file that were pushed. */
  #at = 0
  /** The tensor that comes next or has begun. */
  #next = 0
  /** The beginning of a value whose end is in the next chunk. */
  #begun = new Uint8Array(0)

  constructor({ entries }: SafeTensorsHeader) {
    this.#ranges = [...entries]
      .map(([name, entry]) => ({ name, start: entry.start, end: entry.end, type: floatTypeOf(entry) }))
      .sort((a, b) => a.start - b.start)
  }

  /** The next bytes of the file, from its first on. Throws `adapter_invalid` that names the tensor. */
  push(chunk: Uint8Array): void {
    const begin = this.#at
    this.#at += chunk.length
    for (let range = this.#ranges[this.#next]; range !== undefined; range = this.#ranges[this.#next]) {
      if (range.start >= this.#at) return
      this.#scan(chunk.subarray(Math.max(0, range.start - begin), range.end - begin), range)
      if (range.end > this.#at) return
      this.#next += 1
    }
  }

  /** `bytes` are the tensor's next ones. */
  #scan(bytes: Uint8Array, { name, type }: Range): void {
    const size = elementBytes[type]
    const missing = this.#begun.length === 0 ? 0 : size - this.#begun.length
    const rest = bytes.subarray(missing)
    const whole = rest.length - (rest.length % size)
    const joined = new Uint8Array([...this.#begun, ...bytes.subarray(0, missing)])
    if (joined.length === size && !allFinite(joined, type)) throw notFinite(name)
    if (!allFinite(rest.subarray(0, whole), type)) throw notFinite(name)
    this.#begun = joined.length % size === 0 ? rest.slice(whole) : joined
  }
}
