import type { ContentLogprob } from '../../shared/api/chat-completions.ts'
import type { CompletionLogprobs } from '../../shared/api/completions.ts'
import type { Vocabulary } from '../../shared/tokenizer/vocabulary.ts'
import type { PlacedToken } from './choice-text.ts'

const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** A token's text, or `\xNN` for each of its bytes when they are no UTF-8 on their own. */
export function tokenText(bytes: Uint8Array, escapePrefix: string): string {
  try {
    return strict.decode(bytes)
  } catch {
    return escapePrefix + Array.from(bytes, (byte) => `\\x${byte.toString(16).padStart(2, '0')}`).join('')
  }
}

/** Log-probabilities in the shape of chat completions. */
export function contentLogprobs(tokens: readonly PlacedToken[], vocabulary: Vocabulary): ContentLogprob[] {
  const entry = (id: number, logprob: number) => {
    const bytes = vocabulary.spelling(id)
    return { token: tokenText(bytes, ''), logprob, bytes: [...bytes] }
  }
  return tokens.map(({ id, logprob = 0, top = [] }) => ({
    ...entry(id, logprob),
    top_logprobs: top.map(([other, itsLogprob]) => entry(other, itsLogprob)),
  }))
}

/** Log-probabilities in the shape of legacy completions. */
export function completionLogprobs(
  tokens: readonly PlacedToken[],
  vocabulary: Vocabulary,
): NonNullable<CompletionLogprobs> {
  const text = (id: number) => tokenText(vocabulary.spelling(id), 'bytes:')
  const isAsked = tokens.some(({ top = [] }) => top.length > 0)
  // The chosen token is among them even if it is not likely, as at OpenAI. If two have one text, the likelier counts.
  const likeliest = ({ id, logprob = 0, top = [] }: PlacedToken) => {
    const all: (readonly [number, number])[] = [...top, [id, logprob]]
    return Object.fromEntries(
      all.toSorted(([, a], [, b]) => a - b).map(([other, itsLogprob]) => [text(other), itsLogprob]),
    )
  }
  return {
    tokens: tokens.map(({ id }) => text(id)),
    token_logprobs: tokens.map(({ logprob = null }) => logprob),
    top_logprobs: isAsked
      ? tokens.map((token) => (token.logprob === undefined ? null : likeliest(token)))
      : null,
    text_offset: tokens.map(({ offset }) => offset),
  }
}
