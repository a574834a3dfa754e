import { expect, it } from 'vitest'
import { Batches } from '../../training/data/batches.ts'
import type { Example } from '../../training/data/example.ts'
import { splitHeldOut } from '../../training/held-out.ts'
import { TrainCommandOptions } from './options.ts'
import { trainSettings } from './settings.ts'

const optionsOf = (more: object) =>
  TrainCommandOptions.parse({ data: 'x', out: 'y', backbone: 'tiny', weights: 'q8', init: 'anchor', ...more })

it.each([
  ['joint', 40, 16, 1],
  ['joint', 10, 4, 2],
  ['bilevel', 13, 5, 1],
  ['bilevel', 10, 3, 1],
  ['bilevel', 2, 1, 1],
] as const)(
  'an epoch reads each example once: %s, %i examples, %i × %i at a step',
  (rational, count, batch, accumulate) => {
    const examples: Example[] = Array.from({ length: count }, (_, at) => ({
      instruction: [at],
      response: [at],
    }))
    for (const heldOut of rational === 'joint' ? [undefined] : [0.2, 0.7]) {
      const settings = trainSettings(optionsOf({ rational, heldOut, batch, accumulate, epochs: 3 }), count)
      const { generators } = splitHeldOut(examples, settings)
      const { perEpoch } = new Batches(generators, { size: batch * accumulate, seed: 0 })
      expect(settings.steps).toBe(3 * perEpoch)
    }
  },
)
