import type { CompletionRequest } from '../../shared/api/completions.ts'
import { QuartetError } from '../../shared/errors.ts'
import type { Vocabulary } from '../../shared/tokenizer/vocabulary.ts'
import type { Sampling } from '../../shared/wire.ts'

type Parameters = Pick<
  CompletionRequest,
  | 'temperature'
  | 'top_p'
  | 'top_k'
  | 'min_p'
  | 'frequency_penalty'
  | 'presence_penalty'
  | 'logit_bias'
  | 'seed'
>

/** OpenAI's sampling parameters in the node's words. */
export function toSampling(request: Parameters, vocabulary: Vocabulary): Sampling {
  return {
    temperature: request.temperature,
    topP: request.top_p,
    topK: request.top_k,
    minP: request.min_p,
    frequencyPenalty: request.frequency_penalty,
    presencePenalty: request.presence_penalty,
    logitBias: Object.entries(request.logit_bias).map(([id, bias]) => [
      knownToken(Number(id), vocabulary),
      bias,
    ]),
    ...(request.seed === undefined ? {} : { seed: request.seed }),
  }
}

function knownToken(id: number, vocabulary: Vocabulary): number {
  if (vocabulary.has(id)) return id
  throw new QuartetError(
    'invalid_request',
    `logit_bias: ${id} is no token of this model, which has ${vocabulary.size}`,
    {
      param: 'logit_bias',
    },
  )
}
