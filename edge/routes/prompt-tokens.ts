import type { Prompt } from '../../shared/api/prompts.ts'
import { QuartetError } from '../../shared/errors.ts'
import type { TextCodec } from '../../shared/tokenizer/text-codec.ts'

/** A raw prompt in the model's tokens, at most `room` of them. `param`: the request's field that holds it. */
export function promptTokens(
  prompt: Prompt,
  { codec, param, room }: { codec: TextCodec; param: 'prompt' | 'input'; room: number },
): number[] {
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
