import { l } from 'js-rouge'

/** Runs of letters and digits in lower case, as rouge-score takes them, in any script. */
const words = (text: string) => text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? []

/**
 * ROUGE-L (Lin, "ROUGE", 2004): F1 of the longest common subsequence of words with the nearest of the references,
 * 0 to 1. Equals Google's rouge-score (`rougeL`, without stemming) on ASCII text.
 */
export function rougeL(output: string, references: readonly string[]): number {
  return references.reduce((best, reference) => Math.max(best, score(output, reference)), 0)
}

function score(output: string, reference: string): number {
  if (words(output).length === 0 || words(reference).length === 0) return 0
  return l(output, reference, { tokenizer: words, segmenter: (text) => [text] })
}
