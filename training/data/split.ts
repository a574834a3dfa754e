import { QuartetError } from '../../shared/errors.ts'
import { Random } from '../../shared/prng.ts'
import { setApart } from '../../shared/training/job-size.ts'
import { shuffled } from './batches.ts'
import type { FileExample } from './dataset.ts'
import { idsKey } from './survey.ts'

const purpose = 0xd5eed

const keysOf = ({ instruction, line }: FileExample) => [`line ${line}`, idsKey(instruction)]

/** Examples that must stay on one side: those of a prompt, and those of a line. */
function groupsOf(examples: readonly FileExample[]): readonly (readonly FileExample[])[] {
  const groupOf = new Map<string, FileExample[]>()
  for (const example of examples) {
    const met = new Set(keysOf(example).map((key) => groupOf.get(key)))
    const [group = [], ...others] = [...met].filter((each) => each !== undefined)
    for (const joined of [[example], ...others])
      for (const member of joined) {
        group.push(member)
        for (const key of keysOf(member)) groupOf.set(key, group)
      }
  }
  return [...new Set(groupOf.values())]
}

const smallestOf = (groups: readonly (readonly FileExample[])[]) =>
  groups.reduce((least, group) => (group.length < least.length ? group : least))

/** Whether some examples can be set apart: neither splitting those of one prompt nor taking more than half. */
export function isSplittable(examples: readonly FileExample[]): boolean {
  const groups = groupsOf(examples)
  return groups.length > 1 && smallestOf(groups).length * 2 <= examples.length
}

/**
 * Sets a share of the examples apart to measure on, at most 200 or, where every prompt has more, those of one prompt.
 * Examples of one prompt or one line stay on one side. Depends on the seed alone. Throws `training_data_invalid` where
 * the examples are not splittable.
 */
export function splitDev(
  examples: readonly FileExample[],
  { share, seed }: { share: number; seed: number },
): { train: readonly FileExample[]; dev: readonly FileExample[] } {
  if (share === 0) return { train: examples, dev: [] }
  if (!isSplittable(examples))
    throw new QuartetError(
      'training_data_invalid',
      'all examples or nearly all have the same prompt, so none can be set apart to measure on; give --dev FILE or --dev-share 0',
    )
  const wanted = setApart(examples.length, share)
  const groups = groupsOf(examples)
  const dev = new Set<FileExample>()
  for (const group of shuffled(groups, new Random(seed * 2 ** 20 + purpose)))
    if (dev.size + group.length <= wanted) for (const example of group) dev.add(example)
  if (dev.size === 0) for (const example of smallestOf(groups)) dev.add(example)
  return { train: examples.filter((example) => !dev.has(example)), dev: [...dev] }
}
