import { argmax } from '../../model/runtime/logits.ts'
import type { Read } from './read-prompts.ts'

/** The likeliest continuation of a prompt, token by token, without its stop token. `next`: the logits after the prompt. */
export function* greedyAnswer(
  next: Float32Array,
  { maxTokens, stopTokens }: { readonly maxTokens: number; readonly stopTokens: readonly number[] },
): Generator<Read, readonly number[], void> {
  const ids: number[] = []
  let id = argmax(next)
  while (!stopTokens.includes(id)) {
    ids.push(id)
    if (ids.length >= maxTokens) break
    yield {
      type: 'step',
      token: id,
      behind: ids.length === 1 ? 'prompt' : 'last',
      onLogits: (logits) => {
        id = argmax(logits)
      },
    }
  }
  return ids
}
