const littleEndian = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1

/** The exponent bits of the two f16 values, or of the one f32 value, in a 32-bit word, and the lowest bit of each. */
const exponents = {
  F16: { mask: 0x7c007c00, lowest: 0x04000400, overflow: 0x80008000 },
  F32: { mask: 0x7f800000, lowest: 0x00800000, overflow: 0x80000000 },
} as const

export type FloatType = keyof typeof exponents

const wordBytes = 4
/** Words between two looks at the result. */
const block = 4_096

/**
 * Whether none of these values is NaN or infinite: such a value has all bits of its exponent set (IEEE 754), so adding the
 * lowest of them carries into the sign. `bytes` holds whole little-endian values.
 */
export function allFinite(bytes: Uint8Array, type: FloatType): boolean {
  const { lowest, mask, overflow } = exponents[type]
  const words = wordsOf(bytes)
  for (let from = 0; from < words.length; from += block) {
    const to = Math.min(words.length, from + block)
    let carried = 0
    for (let at = from; at < to; at++) carried |= ((words[at] ?? 0) & mask) + lowest
    if ((carried & overflow) !== 0) return false
  }
  return true
}

/** The same bytes as little-endian words, in place where they are aligned; zeros fill up the last. */
function wordsOf(bytes: Uint8Array): Uint32Array {
  const isWhole = bytes.length % wordBytes === 0
  if (littleEndian && isWhole && bytes.byteOffset % wordBytes === 0)
    return new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / wordBytes)
  const copy = new Uint8Array(Math.ceil(bytes.length / wordBytes) * wordBytes)
  copy.set(bytes)
  const view = new DataView(copy.buffer)
  return littleEndian
    ? new Uint32Array(copy.buffer)
    : Uint32Array.from({ length: copy.length / wordBytes }, (_, at) => view.getUint32(at * wordBytes, true))
}
