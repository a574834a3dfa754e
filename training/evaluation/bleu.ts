/**
 * Corpus BLEU (Papineni et al., "BLEU", ACL 2002) as sacreBLEU computes it by default: tokenization 13a, n-grams up to
 * 4, exponential smoothing (Post, "A Call for Clarity in Reporting BLEU Scores", WMT 2018).
 */

const orders = [1, 2, 3, 4] as const

/** The counts that one output adds to a corpus: its n-grams that its references have and all of them, per n; and lengths. */
export interface BleuCounts {
  readonly matches: readonly number[]
  readonly totals: readonly number[]
  readonly length: number
  /** Length of the reference nearest in length. */
  readonly referenceLength: number
}

export function bleuCounts(output: string, references: readonly string[]): BleuCounts {
  const tokens = tokenize13a(output)
  const answers = references.map(tokenize13a)
  const perOrder = orders.map((n) => {
    const most = new Map<string, number>()
    for (const answer of answers)
      for (const [gram, count] of grams(answer, n)) most.set(gram, Math.max(most.get(gram) ?? 0, count))
    const own = [...grams(tokens, n)]
    return own.reduce((sum, [gram, count]) => sum + Math.min(count, most.get(gram) ?? 0), 0)
  })
  const byDistance = answers
    .map(({ length }) => length)
    .sort((a, b) => Math.abs(a - tokens.length) - Math.abs(b - tokens.length) || a - b)
  return {
    matches: perOrder,
    totals: orders.map((n) => Math.max(0, tokens.length - n + 1)),
    length: tokens.length,
    referenceLength: byDistance[0] ?? 0,
  }
}

/** BLEU of a corpus, 0 to 100. */
export function bleu(corpus: readonly BleuCounts[]): number {
  const sum = (of: (counts: BleuCounts) => number) => corpus.reduce((total, counts) => total + of(counts), 0)
  const length = sum((counts) => counts.length)
  if (sum(({ matches }) => matches[0] ?? 0) === 0) return 0
  let smoothing = 1
  const logPrecisions = orders.map((_, at) => {
    const total = sum(({ totals }) => totals[at] ?? 0)
    const matched = sum(({ matches }) => matches[at] ?? 0)
    if (total === 0) return Number.NEGATIVE_INFINITY
    if (matched === 0) smoothing *= 2
    return Math.log((matched === 0 ? 1 / smoothing : matched) / total)
  })
  const brevity = Math.min(0, 1 - sum((counts) => counts.referenceLength) / length)
  return 100 * Math.exp(brevity + logPrecisions.reduce((a, b) => a + b, 0) / orders.length)
}

function grams(tokens: readonly string[], n: number): Map<string, number> {
  const counts = new Map<string, number>()
  for (let at = 0; at + n <= tokens.length; at++) {
    const gram = tokens.slice(at, at + n).join(' ')
    counts.set(gram, (counts.get(gram) ?? 0) + 1)
  }
  return counts
}

/** The entities are replaced in this order; `&amp;` before `&lt;` as in the original. */
const rules13a: readonly (readonly [pattern: RegExp, replacement: string])[] = [
  [/<skipped>/g, ''],
  [/-\n/g, ''],
  [/\n/g, ' '],
  [/&quot;/g, '"'],
  [/&amp;/g, '&'],
  [/&lt;/g, '<'],
  [/&gt;/g, '>'],
  [/([{-~[-` -&(-+:-@/])/g, ' $1 '],
  [/([^0-9])([.,])/g, '$1 $2 '],
  [/([.,])([^0-9])/g, ' $1 $2'],
  [/([0-9])(-)/g, '$1 $2 '],
]

/** The tokens of NIST's mteval-v13a. */
export function tokenize13a(text: string): string[] {
  const spaced = rules13a.reduce(
    (line, [pattern, replacement]) => line.replaceAll(pattern, replacement),
    ` ${text} `,
  )
  return spaced.split(/\s+/).filter((token) => token !== '')
}
