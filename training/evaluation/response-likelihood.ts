import { logSumExp } from '../../gpu-node/engine/distribution.ts'
import type { Example } from '../data/example.ts'
import { openSequence, type ServedModel } from './served-model.ts'

/** Positions whose logits are held at a time. */
const scoredTokens = 128

/** log p of a response after its instruction, the sum over its tokens, as the model that is served sees it. */
export async function responseLogLikelihood(
  model: ServedModel,
  { instruction, response }: Example,
): Promise<number> {
  using sequence = await openSequence(model, { instruction, room: response.length })
  const [first] = response
  let sum = first === undefined ? 0 : logProbability(sequence.next, first)
  for (let start = 0; start < response.length - 1; start += scoredTokens) {
    const end = Math.min(start + scoredTokens, response.length - 1)
    const rows = await sequence.score(response.slice(start, end))
    for (const [row, logits] of rows.entries()) sum += logProbability(logits, response[start + row + 1])
  }
  return sum
}

/** log softmax(logits)[id] */
export function logProbability(logits: Float32Array, id: number | undefined): number {
  return id === undefined ? Number.NaN : (logits[id] ?? Number.NaN) - logSumExp(logits)
}
