import { z } from 'zod'

/**
 * A schema notes every mistake of its input, and a body of one megabyte has room for half a million: noting them takes
 * seconds, and more memory than an isolate has. These cut what is wrong anyhow where that is certain.
 */

/** The place of the first entry that is not right; -1 where there is none. */
export const firstMistake = (entries: readonly unknown[], isRight: (entry: unknown) => boolean): number =>
  entries.findIndex((entry) => !isRight(entry))

/** A list to its first mistake: that is the last entry of what is returned. */
export function cutAtMistake(
  entries: readonly unknown[],
  isRight: (entry: unknown) => boolean,
): readonly unknown[] {
  const at = firstMistake(entries, isRight)
  return at === -1 ? entries : entries.slice(0, at + 1)
}

/** A list or an object of which `schema` sees `most` entries and, where there are more, one of those. */
export const toOneBeyond = <S extends z.ZodType>(most: number, schema: S) =>
  z.preprocess((given) => {
    if (Array.isArray(given)) return given.slice(0, most + 1)
    if (typeof given !== 'object' || given === null) return given
    const entries = Object.entries(given)
    return entries.length > most ? Object.fromEntries(entries.slice(0, most + 1)) : given
  }, schema)
