import type { OnnxBackend } from '../../model/runtime/onnx-backend.ts'

/** Logits of a prompt's last `count` tokens, read in chunks. */
export async function lastLogits(
  backend: OnnxBackend,
  { ids, count, chunk }: { ids: readonly number[]; count: number; chunk: number },
): Promise<Float32Array> {
  const slot = backend.allocate(ids.length)
  if (slot === undefined) throw new Error('no room')
  const vocab = backend.limits.vocab
  const found = new Float32Array(count * vocab)
  try {
    for (let start = 0; start < ids.length; start += chunk) {
      const tokens = ids.slice(start, start + chunk)
      const wanted = tokens.flatMap((_, i) => (start + i >= ids.length - count ? [i] : []))
      const logits = await backend.score({ slot, tokens }, wanted.length > 0 ? wanted : [0])
      if (wanted[0] !== undefined) found.set(logits, (start + wanted[0] - (ids.length - count)) * vocab)
    }
  } finally {
    slot.release()
  }
  return found
}

export const largestDifference = (a: Float32Array, b: Float32Array): number =>
  a.reduce((most, x, i) => Math.max(most, Math.abs(x - (b[i] ?? Number.NaN))), 0)
