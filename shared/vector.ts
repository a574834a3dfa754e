/** A vector as base64 of its numbers, little-endian f32 each, as OpenAI's embeddings have it. */
export function encodeVector(vector: Float32Array): string {
  const view = new DataView(new ArrayBuffer(4 * vector.length))
  for (const [at, value] of vector.entries()) view.setFloat32(4 * at, value, true)
  return btoa(Array.from(new Uint8Array(view.buffer), (byte) => String.fromCharCode(byte)).join(''))
}

/** The numbers of such a text; undefined where it is none. */
export function decodeVector(text: string): Float32Array | undefined {
  let bytes: Uint8Array
  try {
    bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0))
  } catch {
    return undefined
  }
  if (bytes.length % 4 !== 0) return undefined
  const view = new DataView(bytes.buffer)
  return Float32Array.from({ length: bytes.length / 4 }, (_, at) => view.getFloat32(4 * at, true))
}
