import { QuartetError } from '../shared/errors.ts'
import { Random } from '../shared/prng.ts'
import { shuffled } from './data/batches.ts'
import type { Example } from './data/example.ts'
import type { TrainSettings } from './settings.ts'

interface Split {
  /** Examples that train everything but the rational coefficients. */
  readonly generators: readonly Example[]
  /** Examples that train the coefficients; empty when they are trained with everything else. */
  readonly heldOut: readonly Example[]
}

const purpose = 0x5eed

type Apart = Pick<TrainSettings, 'rational' | 'heldOut'>

/** How many of the examples train the coefficients alone; none of them where those are trained with everything else. */
export const heldOutCount = (examples: number, { heldOut, rational }: Apart): number =>
  rational === 'joint' ? 0 : Math.min(examples - 1, Math.max(1, Math.round(examples * heldOut)))

/** Sets examples apart for bi-level training. Depends on the seed alone. Throws `training_data_invalid` for one example. */
export function splitHeldOut(
  examples: readonly Example[],
  { seed, ...apart }: Apart & Pick<TrainSettings, 'seed'>,
): Split {
  if (apart.rational === 'joint') return { generators: examples, heldOut: [] }
  if (examples.length < 2)
    throw new QuartetError(
      'training_data_invalid',
      'there is one example to train on, and bi-level training needs two; add examples or leave --rational bilevel out',
    )
  const count = heldOutCount(examples.length, apart)
  const order = shuffled(examples, new Random(seed * 2 ** 20 + purpose))
  return { generators: order.slice(count), heldOut: order.slice(0, count) }
}
