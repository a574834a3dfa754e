import { QuartetError } from '../../shared/errors.ts'
import { openBackbone } from '../import/backbone-folder.ts'
import { logProbability } from './log-probability.ts'
import { createBackend } from './onnx-backend.ts'
import { range } from './row-places.ts'

/** Tokens that are read at a time, and the positions in them whose next token is scored. */
const window = 512
const scored = range(64, 511)

/**
 * Perplexity of a backbone on a text of at least 512 tokens: e to the mean negative log-likelihood of the token after
 * each of the positions 64..510 of every whole window of 512. Throws `invalid_request` for a shorter text.
 */
export async function perplexity(folder: string, ids: readonly number[]): Promise<number> {
  const windows = Math.floor(ids.length / window)
  if (windows === 0)
    throw new QuartetError('invalid_request', `the text has ${ids.length} tokens; perplexity needs ${window}`)
  const { manifest } = await openBackbone(folder)
  const { vocab } = manifest.config
  const limits = { contextLength: window, chunkTokens: window, maxBatch: 1, cacheRows: window }
  const backend = await createBackend({ folder, manifest, device: 'cpu', limits })
  try {
    let loss = 0
    for (let start = 0; start < windows * window; start += window) {
      const tokens = ids.slice(start, start + window)
      const slot = backend.allocate(window)
      if (slot === undefined) throw new Error('a cache of one window holds one')
      const logits = await backend.score({ slot, tokens }, scored)
      slot.release()
      for (const [row, position] of scored.entries()) {
        const next = tokens[position + 1]
        if (next !== undefined) loss -= logProbability(logits.subarray(row * vocab, (row + 1) * vocab), next)
      }
    }
    return Math.exp(loss / (windows * scored.length))
  } finally {
    await backend.close()
  }
}
