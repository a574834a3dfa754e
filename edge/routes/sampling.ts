import type { CompletionRequest } from '../../shared/api/completions.ts'
import { maxChoicesInAll } from '../../shared/api/parameters.ts'
import { QuartetError } from '../../shared/errors.ts'
import type { TextCodec } from '../../shared/tokenizer/text-codec.ts'
import type { Vocabulary } from '../../shared/tokenizer/vocabulary.ts'
import type { Sampling } from '../../shared/wire.ts'
import type { ModelWithCodec } from '../tenants/load-codec.ts'

type Parameters = Pick<
  CompletionRequest,
  | 'temperature'
  | 'top_p'
  | 'top_k'
  | 'min_p'
  | 'frequency_penalty'
  | 'presence_penalty'
  | 'logit_bias'
  | 'repetition_penalty'
  | 'min_tokens'
  | 'bad_words'
  | 'stop_token_ids'
  | 'seed'
>

/** OpenAI's sampling parameters in the node's words. */
export function toSampling(request: Parameters, codec: TextCodec): Sampling {
  const { vocabulary } = codec
  const badWords = request.bad_words.flatMap((word) => spellings(word, codec))
  return {
    temperature: request.temperature,
    topP: request.top_p,
    topK: Math.max(0, request.top_k),
    minP: request.min_p,
    frequencyPenalty: request.frequency_penalty,
    presencePenalty: request.presence_penalty,
    logitBias: Object.entries(request.logit_bias).map(([id, bias]) => [
      knownToken(Number(id), { vocabulary, param: 'logit_bias' }),
      bias,
    ]),
    ...(request.repetition_penalty === 1 ? {} : { repetitionPenalty: request.repetition_penalty }),
    ...(badWords.length === 0 ? {} : { badWords }),
    ...(request.min_tokens === 0 ? {} : { minTokens: request.min_tokens }),
    ...seedOf(request),
  }
}

/** A word's tokens at the beginning of a text, and behind a space. */
function spellings(word: string, codec: TextCodec): number[][] {
  const limit = { tokens: Number.POSITIVE_INFINITY, param: 'bad_words' } as const
  const ways = [word, ` ${word.trimStart()}`].map((text) => codec.encodeRendered(text, limit))
  return [...new Map(ways.filter(({ length }) => length > 0).map((ids) => [ids.join(), ids])).values()]
}

/** The node's seeds begin at 0 and end where JSON's whole numbers do; choice `i` adds `i`. */
const seeds = BigInt(Number.MAX_SAFE_INTEGER - maxChoicesInAll)

/** −1 asks for a random seed, as at llama.cpp and vLLM; other seeds of 64 bits are folded into the node's range. */
function seedOf({ seed }: Parameters): { readonly seed?: number } {
  if (seed === undefined || seed === -1) return {}
  return { seed: Number(BigInt.asUintN(64, BigInt(seed)) % seeds) }
}

export interface StopRules {
  readonly ignoreEos: boolean
  readonly ids: readonly number[]
  /** Stop strings; one that spells a special token, which adds no text, stands for the token. */
  readonly strings: readonly string[]
}

/** The tokens that end an answer. */
export function stopTokensOf(rules: StopRules, { codec, model }: ModelWithCodec): readonly number[] {
  const eos = rules.ignoreEos ? [] : model.record.backbone.tokens.eos
  const asked = rules.ids.map((id) =>
    knownToken(id, { vocabulary: codec.vocabulary, param: 'stop_token_ids' }),
  )
  const spelled = rules.strings.flatMap((text) => codec.addedTokens.specialId(text) ?? [])
  return [...new Set([...eos, ...asked, ...spelled])]
}

function knownToken(id: number, { param, vocabulary }: { param: string; vocabulary: Vocabulary }): number {
  if (vocabulary.has(id)) return id
  throw new QuartetError(
    'invalid_request',
    `${param}: ${id} is no token of this model, which has ${vocabulary.size}`,
    { param },
  )
}
