/** The fake backend's model: its logits are hashes of an adapter's identity and of all tokens so far. */

/** The size of its vocabulary unless a test wants another. */
export const hashedVocab = 64

/** The fake model's likeliest token after `tokens`. */
function nextToken(tokens: readonly number[], model: { vocab: number; identity: number }): number {
  const logits = hashedLogits(tokens, model)
  return logits.indexOf(Math.max(...logits))
}

/** The fake model's greedy continuation of `prompt`. */
export function continuation(
  prompt: readonly number[],
  { count, identity = 0, vocab = hashedVocab }: { count: number; identity?: number; vocab?: number },
): number[] {
  const tokens = [...prompt]
  for (let step = 0; step < count; step++) tokens.push(nextToken(tokens, { vocab, identity }))
  return tokens.slice(prompt.length)
}

export function hashedLogits(
  tokens: readonly number[],
  { identity, vocab }: { identity: number; vocab: number },
): Float32Array {
  let hash = tokens.reduce(mix, identity)
  return Float32Array.from({ length: vocab }, (_, id) => {
    hash = mix(hash, id)
    return (hash >>> 8) / 0x400000
  })
}

/** One round of MurmurHash3. */
export function mix(hash: number, value: number): number {
  let h = Math.imul(hash ^ Math.imul(value + 1, 0xcc9e2d51), 0x1b873593)
  h ^= h >>> 15
  h = Math.imul(h, 0x85ebca6b)
  return (h ^ (h >>> 13)) | 0
}
