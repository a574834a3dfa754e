import type { OnnxBackend } from '../model/runtime/onnx-backend.ts'
import type { Figure } from './report.ts'
import { prefill, prompt } from './sequences.ts'

/** More than the inputs of a step take, and less than one layer's rows of the sequences. */
export const mostCrossing = 256 * 1024

/** Bytes that cross in a decode step of four, beside its logits: nothing of a cache that lies on the device. */
export async function crossingFigure(
  backend: OnnxBackend,
  { most }: { most: number | undefined },
): Promise<Figure> {
  using slots = new DisposableStack()
  const batch = []
  for (let at = 0; at < 4; at++) {
    const slot = await prefill(backend, { tokens: prompt(64, backend.limits.vocab) })
    slots.defer(() => slot.release())
    batch.push({ slot, token: 5 })
  }
  const before = backend.hostBytes
  await backend.decode(batch)
  return {
    name: 'bytes that cross in a decode step of four, beside logits',
    value: backend.hostBytes - before - 4 * 4 * backend.limits.vocab,
    unit: 'bytes',
    ...(most === undefined ? {} : { bound: { kind: 'at most', value: most } }),
  }
}
