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

/** Sets examples apart for bi-level training. Depends on the seed alone. Throws `training_data_invalid` for one example. */
export function splitHeldOut(
  examples: readonly Example[],
  { rational, heldOut, seed }: Pick<TrainSettings, 'rational' | 'heldOut' | 'seed'>,
): Split {
  if (rational === 'joint') return { generators: examples, heldOut: [] }
  if (examples.length < 2)
    throw new QuartetError(
      'training_data_invalid',
      'there is one example to train on, and bi-level training needs two; add examples or leave --rational bilevel out',
    )
  const count = Math.min(examples.length - 1, Math.max(1, Math.round(examples.length * heldOut)))
  const order = shuffled(examples, new Random(seed * 2 ** 20 + purpose))
  return { generators: order.slice(count), heldOut: order.slice(0, count) }
}
