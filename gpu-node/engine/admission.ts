import type { BackendLimits } from '../../model/runtime/backend.ts'
import { checkPromptLength } from '../../shared/adapter-fit.ts'
import { QuartetError } from '../../shared/errors.ts'
import { maxPromptLogprobs } from '../../shared/wire.ts'
import type { Sequence } from './sequence.ts'

/** Throws when a request can never run here: `invalid_request` or `context_length_exceeded`. */
export function checkRunnable(sequence: Sequence, limits: BackendLimits): void {
  const { maxTokens, prompt, promptLogprobs, sampling } = sequence.engineRequest.request
  const { tail } = sequence
  if (tail !== undefined) checkPromptLength({ tokens: prompt.length, tail })
  checkIds(prompt, { param: 'prompt', vocab: limits.vocab })
  checkIds(
    sampling.logitBias.map(([id]) => id),
    { param: 'sampling.logitBias', vocab: limits.vocab },
  )
  if (promptLogprobs !== undefined && prompt.length * (1 + promptLogprobs) > maxPromptLogprobs)
    throw new QuartetError(
      'invalid_request',
      `promptLogprobs: ${prompt.length} tokens with ${1 + promptLogprobs} log-probabilities each are more than ${maxPromptLogprobs}`,
      { param: 'promptLogprobs' },
    )
  const room = Math.min(limits.contextLength, limits.cacheRows)
  if (sequence.rows > room) {
    const { promptRows } = sequence
    const adapterPart = promptRows > 0 ? ` and the adapter's ${promptRows} prompt rows` : ''
    throw new QuartetError(
      'context_length_exceeded',
      `a prompt of ${prompt.length} tokens, ${maxTokens} tokens to generate${adapterPart} exceed the ${room} that fit; shorten the prompt or lower max_tokens`,
      { param: 'maxTokens' },
    )
  }
}

function checkIds(ids: readonly number[], { param, vocab }: { param: string; vocab: number }): void {
  const at = ids.findIndex((id) => id >= vocab)
  if (at !== -1)
    throw new QuartetError(
      'invalid_request',
      `${param}[${at}] is ${ids[at]}; the vocabulary ends at ${vocab - 1}`,
      {
        param: `${param}[${at}]`,
      },
    )
}
