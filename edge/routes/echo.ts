import type { PromptLogprobs } from '../../shared/api/completions.ts'
import type { Prompt } from '../../shared/api/prompts.ts'
import type { TextCodec } from '../../shared/tokenizer/text-codec.ts'
import type { Vocabulary } from '../../shared/tokenizer/vocabulary.ts'
import type { TokenScore } from '../../shared/wire.ts'
import { ChoiceText, type PlacedToken, type SampledToken } from '../streaming/choice-text.ts'
import type { ChoiceDelta } from '../streaming/read-choice.ts'
import { tokenText } from '../streaming/token-text.ts'

/** A prompt as an answer repeats it. */
export interface Echo {
  readonly text: string
  /** Code points. */
  readonly length: number
  /** Its tokens, those that the tokenizer put around a text included. */
  readonly ids: readonly number[]
}

/** A text comes back as it was given. Token ids come back as their text, special tokens by their names. */
export function echoOf(prompt: Prompt, { codec, ids }: { codec: TextCodec; ids: readonly number[] }): Echo {
  const text = typeof prompt === 'string' ? prompt : spelled(codec, ids).text
  return { text, length: [...text].length, ids }
}

/** A prompt's tokens with their log-probabilities; `scores` are those from the second token on. */
export function scoredPrompt(
  { ids, length }: Echo,
  { codec, scores }: { codec: TextCodec; scores: readonly TokenScore[] },
): PlacedToken[] {
  return spelled(codec, ids).tokens.map((token, at) => {
    const score = scores[at - 1]
    // A text has no place for what the tokenizer put around it.
    const offset = Math.min(token.offset, length)
    return score === undefined ? { ...token, offset } : { ...token, ...score, offset }
  })
}

/**
 * An answer's tokens behind its prompt. The stop token counts among them, though it has no text: evaluation tells the
 * prompt's tokens from the answer's by how many were generated.
 */
export function behindPrompt(
  { length }: Echo,
  {
    end,
    stopToken,
    tokens,
  }: Pick<ChoiceDelta, 'tokens'> & { stopToken: SampledToken | undefined; end: number },
): PlacedToken[] {
  const answered = tokens.map((token) => ({ ...token, offset: token.offset + length }))
  return stopToken === undefined ? answered : [...answered, { ...stopToken, offset: length + end }]
}

/** The log-probabilities of a prompt in vLLM's form. */
export function promptLogprobs(
  ids: readonly number[],
  { scores, vocabulary }: { scores: readonly TokenScore[]; vocabulary: Vocabulary },
): PromptLogprobs {
  const entry = (id: number, { logprob, rank }: { logprob: number; rank: number }) =>
    [String(id), { logprob, rank, decoded_token: tokenText(vocabulary.spelling(id), 'bytes:') }] as const
  return ids.map((id, at) => {
    const score = scores[at - 1]
    if (score === undefined) return null
    const others = score.top.map(([other, logprob], place) => entry(other, { logprob, rank: place + 1 }))
    return Object.fromEntries([...others, entry(id, score)])
  })
}

/** The text of tokens, special ones by their names. */
function spelled({ vocabulary }: TextCodec, ids: readonly number[]) {
  const choice = new ChoiceText({ vocabulary: { bytes: (id) => vocabulary.spelling(id) }, stops: [] })
  const pieces = [...ids.map((id) => choice.push({ id })), choice.finish()]
  return {
    text: pieces.map(({ text }) => text).join(''),
    tokens: pieces.flatMap(({ tokens }) => tokens),
  }
}
