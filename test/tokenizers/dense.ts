import type { TokenizerFile } from '../../shared/tokenizer/tokenizer-file.ts'
import type { ReferenceIds } from './differences.ts'

/**
 * A part of a vocabulary, and what the reference made with the whole of it, with ids from 0 on without gaps. Ids keep
 * their order, and nothing but their order and identity counts for what a text becomes.
 */
export function dense({ tokenizer, reference }: { tokenizer: TokenizerFile; reference: ReferenceIds }): {
  tokenizer: TokenizerFile
  reference: ReferenceIds
} {
  const { added_tokens, model, post_processor } = tokenizer
  const used = [...Object.values(model.vocab), ...added_tokens.map(({ id }) => id)]
  const places = new Map([...new Set(used)].sort((a, b) => a - b).map((id, place) => [id, place]))
  const placeOf = (id: number) => {
    const place = places.get(id)
    if (place === undefined) throw new Error(`the fixture lacks the token ${id}`)
    return place
  }
  return {
    tokenizer: {
      ...tokenizer,
      added_tokens: added_tokens.map((token) => ({ ...token, id: placeOf(token.id) })),
      model: {
        ...model,
        vocab: Object.fromEntries(Object.entries(model.vocab).map(([text, id]) => [text, placeOf(id)])),
      },
      post_processor: withIds(post_processor, placeOf),
    },
    reference: reference.map(({ bare, prompt }) => ({
      bare: bare.map(placeOf),
      prompt: prompt.map(placeOf),
    })),
  }
}

/** A post-processor names ids in lists called `ids`. */
function withIds<T>(part: T, placeOf: (id: number) => number): T {
  return JSON.parse(
    JSON.stringify(part, (key, value: unknown) =>
      key === 'ids' && Array.isArray(value) ? value.map((id) => placeOf(Number(id))) : value,
    ),
  )
}
