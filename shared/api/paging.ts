import { z } from 'zod'

/** Lists in pages, as at OpenAI: `limit` entries behind `after`, an entry's id or the last page's `last_id`. */

const wholeNumber = z
  .string()
  .regex(/^[0-9]{1,9}$/, 'must be a whole number')
  .transform(Number)

/** `longest`: characters of the longest id. */
export const pageQuery = ({
  longest = 128,
  most,
  usual,
}: {
  usual: number
  most: number
  longest?: number
}) => ({
  limit: wholeNumber
    .pipe(z.int().min(1).max(most))
    .optional()
    .transform((limit) => limit ?? usual)
    .meta({ minimum: 1, maximum: most, default: usual, description: `Entries of a page, at most ${most}.` }),
  after: z
    .string()
    .min(1)
    .max(longest)
    .optional()
    .meta({ description: "An entry's id, or a page's `last_id`: the page begins behind it." }),
})

export const Page = <S extends z.ZodType>(entry: S) =>
  z.object({
    object: z.literal('list'),
    data: z.array(entry),
    first_id: z.string().nullable(),
    /** The next page's `after`. */
    last_id: z.string().nullable(),
    has_more: z.boolean(),
  })
export interface Page<T> {
  object: 'list'
  data: T[]
  first_id: string | null
  last_id: string | null
  has_more: boolean
}

/** A page of what was read with one entry more than `limit`, which says whether there is another page. */
export function toPage<T>(
  entries: readonly T[],
  { limit, id }: { limit: number; id: (entry: T) => string },
): Page<T> {
  const data = entries.slice(0, limit)
  const [first, last] = [data.at(0), data.at(-1)]
  return {
    object: 'list',
    data,
    first_id: first === undefined ? null : id(first),
    last_id: last === undefined ? null : id(last),
    has_more: entries.length > limit,
  }
}
