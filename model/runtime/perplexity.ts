import { QuartetError } from '../../shared/errors.ts'
import { openBackbone } from '../backbone/backbone-folder.ts'
import type { CacheType } from './cache-type.ts'
import { createBackend } from './create-backend.ts'
import { logNormaliser } from './logits.ts'
import { usualPrefillWeights } from './prefill-weights.ts'
import { range } from './row-places.ts'

/** Tokens that are read at a time, and the positions in them whose next token is scored. */
export const scoredWindow = { window: 512, first: 64, last: 510 } as const
const { window } = scoredWindow
const scored = range(scoredWindow.first, scoredWindow.last + 1)

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

/** A model that reads windows of 512 tokens, each from an empty cache. */
export interface WindowScorer {
  readonly vocab: number
  /** Logits behind each of the positions 64..510 of a window, [447, vocab]; valid until the next call. */
  score(tokens: readonly number[]): Promise<Float32Array>
  close(): Promise<void>
}

/**
 * Compares two forms of one model on a text of at least 512 tokens: on the token after each of the positions 64..510
 * of every whole window of 512. Throws `invalid_request` for a shorter text.
 */
export async function compareOnText(
  forms: { exact: ModelForm; stored: ModelForm },
  ids: readonly number[],
): Promise<FormComparison> {
  const exact = await openScorer(forms.exact)
  try {
    const stored = forms.stored === forms.exact ? undefined : await openScorer(forms.stored)
    try {
      const compared = await compareScorers({ exact, others: stored === undefined ? [] : [stored] }, ids)
      const [other = { perplexity: compared.perplexity, divergence: 0 }] = compared.others
      return {
        perplexity: { exact: compared.perplexity, stored: other.perplexity },
        divergence: other.divergence,
      }
    } finally {
      await stored?.close()
    }
  } finally {
    await exact.close()
  }
}

/** The same for any number of forms against one. */
export async function compareScorers(
  { exact, others }: { exact: WindowScorer; others: readonly WindowScorer[] },
  ids: readonly number[],
): Promise<{ perplexity: number; others: readonly { perplexity: number; divergence: number }[] }> {
  const windows = Math.floor(ids.length / window)
  if (windows === 0)
    throw new QuartetError('invalid_request', `the text has ${ids.length} tokens; perplexity needs ${window}`)
  const { vocab } = exact
  const sums = { exact: 0, others: others.map(() => ({ loss: 0, divergence: 0 })) }
  for (let start = 0; start < windows * window; start += window) {
    const tokens = ids.slice(start, start + window)
    const p = await exact.score(tokens)
    const normalizers = scored.map((_, row) => logNormaliser(rowOf(p, row, vocab)))
    const lossAt = (logits: Float32Array, { row, normalizer }: { row: number; normalizer: number }) =>
      normalizer - (logits[row * vocab + (tokens[(scored[row] ?? 0) + 1] ?? 0)] ?? Number.NaN)
    for (const [row, normalizer] of normalizers.entries()) sums.exact += lossAt(p, { row, normalizer })
    for (const [index, other] of others.entries()) {
      const q = await other.score(tokens)
      const sum = sums.others[index] ?? { loss: 0, divergence: 0 }
      for (const [row, normalizer] of normalizers.entries()) {
        const [a, b] = [rowOf(p, row, vocab), rowOf(q, row, vocab)]
        const own = { exact: normalizer, stored: logNormaliser(b) }
        sum.loss += lossAt(q, { row, normalizer: own.stored })
        sum.divergence += divergenceOf(a, b, own)
      }
    }
  }
  const count = windows * scored.length
  return {
    perplexity: Math.exp(sums.exact / count),
    others: sums.others.map(({ loss, divergence }) => ({
      perplexity: Math.exp(loss / count),
      divergence: divergence / count,
    })),
  }
}

const rowOf = (logits: Float32Array, row: number, vocab: number) =>
  logits.subarray(row * vocab, (row + 1) * vocab)

/** KL(softmax a ‖ softmax b), given log Σ exp of each. */
function divergenceOf(a: Float32Array, b: Float32Array, sums: { exact: number; stored: number }): number {
  let sum = 0
  for (let i = 0; i < a.length; i++) {
    const logP = (a[i] ?? Number.NaN) - sums.exact
    sum += Math.exp(logP) * (logP - ((b[i] ?? Number.NaN) - sums.stored))
  }
  return sum
}

/** A backbone as this machine's CPU reads prompts by default. */
export async function openScorer({ folder, cacheType }: ModelForm): Promise<WindowScorer> {
  const { manifest } = await openBackbone(folder)
  const limits = { contextLength: window, chunkTokens: window, maxBatch: 1, cacheRows: window }
  const prefillWeights = await usualPrefillWeights(manifest)
  const backend = await createBackend({ folder, manifest, device: 'cpu', limits, cacheType, prefillWeights })
  return {
    vocab: manifest.config.vocab,
    async score(tokens) {
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
