import { QuartetError } from '../../shared/errors.ts'
import { openBackbone } from '../backbone/backbone-folder.ts'
import type { CacheType } from './cache-type.ts'
import { logNormaliser } from './logits.ts'
import { createBackend } from './onnx-backend.ts'
import { range } from './row-places.ts'

/** Tokens that are read at a time, and the positions in them whose next token is scored. */
const window = 512
const scored = range(64, 511)

/** One way to run a model. */
export interface ModelForm {
  readonly folder: string
  /** f32 when absent. */
  readonly cacheType?: CacheType
}

/** Two forms of one model compared on a text. */
export interface FormComparison {
  /** e to the mean negative log-likelihood of a token, of each. */
  readonly perplexity: { readonly exact: number; readonly stored: number }
  /** Mean KL(exact ‖ stored) of the distributions of a token, in nats. */
  readonly divergence: number
}

/**
 * Compares two forms of one model on a text of at least 512 tokens: on the token after each of the positions 64..510
 * of every whole window of 512. Throws `invalid_request` for a shorter text.
 */
export async function compareOnText(
  forms: { exact: ModelForm; stored: ModelForm },
  ids: readonly number[],
): Promise<FormComparison> {
  const windows = Math.floor(ids.length / window)
  if (windows === 0)
    throw new QuartetError('invalid_request', `the text has ${ids.length} tokens; perplexity needs ${window}`)
  const exact = await openScorer(forms.exact)
  try {
    const stored = forms.stored === forms.exact ? exact : await openScorer(forms.stored)
    try {
      const loss = { exact: 0, stored: 0 }
      let divergence = 0
      for (let start = 0; start < windows * window; start += window) {
        const tokens = ids.slice(start, start + window)
        const p = await exact.score(tokens)
        const q = stored === exact ? p : await stored.score(tokens)
        for (const [row, position] of scored.entries()) {
          const next = tokens[position + 1] ?? 0
          const rows = [p, q].map((logits) => logits.subarray(row * exact.vocab, (row + 1) * exact.vocab))
          const [a = p, b = q] = rows
          const exactSum = logNormaliser(a)
          const sums = { exact: exactSum, stored: q === p ? exactSum : logNormaliser(b) }
          loss.exact += sums.exact - (a[next] ?? Number.NaN)
          loss.stored += sums.stored - (b[next] ?? Number.NaN)
          if (q !== p) divergence += divergenceOf(a, b, sums)
        }
      }
      const count = windows * scored.length
      return {
        perplexity: { exact: Math.exp(loss.exact / count), stored: Math.exp(loss.stored / count) },
        divergence: divergence / count,
      }
    } finally {
      if (stored !== exact) await stored.close()
    }
  } finally {
    await exact.close()
  }
}

/** KL(softmax a ‖ softmax b), given log Σ exp of each. */
function divergenceOf(a: Float32Array, b: Float32Array, sums: { exact: number; stored: number }): number {
  let sum = 0
  for (let i = 0; i < a.length; i++) {
    const logP = (a[i] ?? Number.NaN) - sums.exact
    sum += Math.exp(logP) * (logP - ((b[i] ?? Number.NaN) - sums.stored))
  }
  return sum
}

/** Logits of the scored positions of a window, [positions, vocab]. */
async function openScorer({ folder, cacheType }: ModelForm) {
  const { manifest } = await openBackbone(folder)
  const limits = { contextLength: window, chunkTokens: window, maxBatch: 1, cacheRows: window }
  const backend = await createBackend({ folder, manifest, device: 'cpu', limits, cacheType })
  return {
    vocab: manifest.config.vocab,
    async score(tokens: readonly number[]): Promise<Float32Array> {
      const slot = backend.allocate(window)
      if (slot === undefined) throw new Error('a cache of one window holds one')
      try {
        return await backend.score({ slot, tokens }, scored)
      } finally {
        slot.release()
      }
    },
    close: () => backend.close(),
  }
}
