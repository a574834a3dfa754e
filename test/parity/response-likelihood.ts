import type { Example } from '../../training/data/example.ts'
import { readPrompts } from '../../training/evaluation/read-prompts.ts'
import { responseLikelihood } from '../../training/evaluation/response-likelihood.ts'
import type { ServedModel } from '../../training/evaluation/served-model.ts'

/** log p of one response after its instruction, as serving sees it. */
export async function responseLogLikelihood(
  model: ServedModel,
  { instruction, response, turn }: Example,
): Promise<number> {
  const reader = (next: Float32Array) => responseLikelihood(next, response)
  const [sum = Number.NaN] = await readPrompts(model, [{ instruction, turn, room: response.length, reader }])
  return sum
}
