import { type Prompt, type PromptPlace, promptPlace } from '../../shared/api/prompts.ts'
import { QuartetError } from '../../shared/errors.ts'
import type { TextCodec } from '../../shared/tokenizer/text-codec.ts'

interface PromptRoom<Place> {
  readonly codec: TextCodec
  /** The tokens that a prompt may have. */
  readonly room: number
  /** The request's field that holds it. */
  readonly param: Place
}

/** Raw prompts in the model's tokens. A refusal says which of several is at fault. */
export function promptsTokens(
  prompts: readonly Prompt[],
  { param, ...open }: PromptRoom<'prompt' | 'input'>,
): { readonly ids: number[] }[] {
  const of = prompts.length
  return prompts.map((prompt, at) => ({
    ids: promptTokens(prompt, { ...open, param: promptPlace(param, { at, of }) }),
  }))
}

function promptTokens(prompt: Prompt, { codec, param, room }: PromptRoom<PromptPlace>): number[] {
  const fail = (message: string): never => {
    throw new QuartetError('invalid_request', `${param}: ${message}`, { param })
  }
  if (typeof prompt === 'string') {
    const ids = codec.encodePrompt(prompt, { tokens: room, param })
    return ids.length > 0 ? ids : fail('is empty; give at least one token')
  }
  const unknown = prompt.find((id) => !codec.vocabulary.has(id))
  return unknown === undefined
    ? prompt
    : fail(`${unknown} is no token of this model, which has ${codec.vocabulary.size}`)
}
