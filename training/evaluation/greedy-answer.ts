import { QuartetError } from '../../shared/errors.ts'
import type { Read } from './read-prompts.ts'

/** The likeliest continuation of a prompt, token by token, without its stop token. `next`: the logits after the prompt. */
export function* greedyAnswer(
  next: Float32Array,
  { maxTokens, stopTokens }: { readonly maxTokens: number; readonly stopTokens: readonly number[] },
): Generator<Read, readonly number[], void> {
  const ids: number[] = []
  let id = likeliest(next)
  while (!stopTokens.includes(id)) {
    ids.push(id)
    if (ids.length >= maxTokens) break
    yield {
      tokens: [id],
      behind: ids.length === 1 ? 'prompt' : 'last',
      onLogits: (logits) => {
        id = likeliest(logits)
      },
    }
  }
  return ids
}

/** The id of the largest logit, the lowest of equals, as the engine chooses at temperature 0. Throws `node_error`. */
function likeliest(logits: Float32Array): number {
  let at = 0
  for (let id = 1; id < logits.length; id++) if ((logits[id] ?? 0) > (logits[at] ?? 0)) at = id
  if (!Number.isFinite(logits[at]))
    throw new QuartetError('node_error', 'the model gave no usable logits: they are not numbers')
  return at
}
