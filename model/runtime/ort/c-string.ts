import { koffi } from './foreign-functions.ts'

/** A NUL-terminated string in memory that does not move. */
export class CString {
  readonly address: bigint
  readonly #bytes: Uint8Array

  constructor(text: string) {
    const encoded = new TextEncoder().encode(`${text}\0`)
    // In a buffer of its own, as V8 moves short arrays without one.
    this.#bytes = new Uint8Array(new ArrayBuffer(encoded.length))
    this.#bytes.set(encoded)
    this.address = koffi.address(this.#bytes)
  }
}
