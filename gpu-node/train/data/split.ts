import { QuartetError } from '../../../shared/errors.ts'
import { Random } from '../../engine/prng.ts'
import { shuffled } from '../batches.ts'
import type { Example } from '../loss-model.ts'
import { idsKey } from './survey.ts'

const mostDevExamples = 200
const purpose = 0xd5eed

const byPrompt = (examples: readonly Example[]) =>
  Map.groupBy(examples, ({ instruction }) => idsKey(instruction))

/** Whether some examples can be set apart without splitting those of one prompt. */
export function isSplittable(examples: readonly Example[]): boolean {
  return byPrompt(examples).size > 1
}

/**
 * Sets a share of the examples apart to measure on, at most 200. Examples with the same prompt stay on one side.
 * Depends on the seed alone. Throws `training_data_invalid` where all examples have one prompt.
 */
export function splitDev(
  examples: readonly Example[],
  { share, seed }: { share: number; seed: number },
): { train: readonly Example[]; dev: readonly Example[] } {
  if (share === 0) return { train: examples, dev: [] }
  if (!isSplittable(examples))
    throw new QuartetError(
      'training_data_invalid',
      'all examples have the same prompt, so none can be set apart to measure on; give --dev FILE or --dev-share 0',
    )
  const wanted = Math.min(mostDevExamples, Math.max(1, Math.round(examples.length * share)))
  const dev = new Set<Example>()
  const order = shuffled([...byPrompt(examples).values()], new Random(seed * 2 ** 20 + purpose))
  for (const group of order.slice(0, -1)) {
    if (dev.size >= wanted) break
    for (const example of group) dev.add(example)
  }
  return { train: examples.filter((example) => !dev.has(example)), dev: [...dev] }
}
