import { QuartetError } from '../../shared/errors.ts'
import type { Backend, CacheSlot } from './backend.ts'
import type { Device } from './session.ts'

/** A captured run is repeated from its second time on. */
const [tokensBefore, steps, mostSequences] = [8, 4, 3]
/** Against the logits' size: what `checkLongChunks` allows for other kernels and 16-bit floats. */
const mostDecodeDifference = 0.03

/**
 * How far a decoded token's logits lie from those of the same token read as a prompt's, against their size: the largest of
 * some sequences in a batch, over some steps.
 */
export async function decodeDifference(backend: Backend): Promise<number> {
  const { maxBatch, vocab } = backend.limits
  const slots: CacheSlot[] = []
  try {
    for (let at = 0; at < Math.min(mostSequences, maxBatch); at++) {
      const slot = backend.allocate(tokensBefore + steps, 1)
      // A small cache has room for fewer: there no batch is larger.
      if (slot === undefined) break
      slots.push(slot)
      await backend.prefill({
        slot,
        tokens: Array.from({ length: tokensBefore }, (_, n) => (n * 7919 + at) % vocab),
      })
    }
    if (slots.length === 0) throw new QuartetError('internal_error', 'an empty cache has no room for a text')
    let largest = 0
    for (let step = 0; step < steps; step++) {
      const batch = slots.map((slot, at) => ({ slot, token: (step * 104_729 + at * 31) % vocab }))
      const decoded = Float32Array.from(await backend.decode(batch))
      for (const [at, { slot, token }] of batch.entries()) {
        slot.rewind(1)
        const read = await backend.prefill({ slot, tokens: [token] })
        const own = decoded.subarray(at * vocab, (at + 1) * vocab)
        const difference = norm(read.map((x, id) => x - (own[id] ?? Number.NaN))) / norm(read)
        // NaN, which is no small difference, stays.
        largest = Math.max(largest, difference)
      }
    }
    return largest
  } finally {
    for (const slot of slots) slot.release()
  }
}

/** Throws `node_unavailable` for a device that decodes wrongly. */
export async function checkDecoding(backend: Backend, device: Device): Promise<void> {
  const difference = device === 'cpu' ? 0 : await decodeDifference(backend)
  if (difference <= mostDecodeDifference) return
  const remedy = device === 'cuda' ? 'start it with --cuda-graphs off, or ' : ''
  throw new QuartetError(
    'node_unavailable',
    `${device} gives wrong results on this machine: a decoded token has logits that lie ${(100 * difference).toFixed(0)} % off those of the same token read as a prompt’s; ${remedy}update the GPU’s driver, or use --device cpu`,
  )
}

const norm = (values: Float32Array): number => Math.sqrt(values.reduce((sum, x) => sum + x * x, 0))
