import { QuartetError } from '../../shared/errors.ts'
import type { Backend } from './backend.ts'
import type { Device } from './session.ts'

/** Rows that ONNX Runtime's WebGPU provider attends over with a shader for many queries, and rows with the one for few. */
const [long, short] = [48, 16]
/**
 * 16-bit floats moved the logits of a small random model by 0.0014 of their size, wrong attention by 0.06 with subgroups of
 * eight, and by more with those of four.
 */
export const mostLongChunkDifference = 0.03

/**
 * How far the logits behind a text lie apart when a device reads it at once and in pieces, against their size. The shader for
 * many queries has given garbage, without any error, on devices whose subgroups it was not written for.
 */
export async function longChunkDifference(backend: Backend): Promise<number> {
  const { contextLength, vocab } = backend.limits
  if (contextLength < long) return 0
  const tokens = Array.from({ length: long }, (_, at) => (at * 7919 + 11) % vocab)
  const logitsIn = async (size: number) => {
    const slot = backend.allocate(long)
    if (slot === undefined) throw new QuartetError('internal_error', 'an empty cache has no room for a text')
    try {
      let logits = new Float32Array()
      for (let start = 0; start < long; start += size)
        logits = Float32Array.from(await backend.prefill({ slot, tokens: tokens.slice(start, start + size) }))
      return logits
    } finally {
      slot.release()
    }
  }
  const [pieces, whole] = [await logitsIn(short), await logitsIn(long)]
  return norm(pieces.map((x, at) => x - (whole[at] ?? Number.NaN))) / norm(pieces)
}

/** Throws `node_unavailable` for a device that computes long chunks of prompts wrongly. */
export async function checkLongChunks(backend: Backend, device: Device): Promise<void> {
  const difference = device === 'cpu' ? 0 : await longChunkDifference(backend)
  // NaN is no small difference.
  if (difference <= mostLongChunkDifference) return
  throw new QuartetError(
    'node_unavailable',
    `${device} gives wrong results on this machine: read ${long} tokens at once, a prompt has logits that lie ${(100 * difference).toFixed(0)} % off those of ${short} at a time. This is known of drivers with narrow subgroups, like those in software: update the GPU’s driver, or use --device cpu`,
  )
}

const norm = (values: Float32Array): number => Math.sqrt(values.reduce((sum, x) => sum + x * x, 0))
