import { logProbability } from '../../model/runtime/logits.ts'
import type { Read } from './read-prompts.ts'

/** log p of a response after a prompt, the sum over its tokens. `next`: the logits after the prompt. */
export function* responseLikelihood(
  next: Float32Array,
  response: readonly number[],
): Generator<Read, number, void> {
  const [first] = response
  let sum = first === undefined ? 0 : logProbability(next, first)
  if (response.length > 1)
    yield {
      type: 'score',
      tokens: response.slice(0, -1),
      onLogits: (logits, at) => {
        sum += logProbability(logits, response[at + 1])
      },
    }
  return sum
}
