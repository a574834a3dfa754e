import { InvalidArgumentError } from 'commander'
import type { z } from 'zod'

/** A commander argument parser for a zod schema: a wrong value is refused with the schema's own words. */
export function parsedBy<T>(schema: z.ZodType<T>): (given: unknown) => T {
  return (given) => {
    const parsed = schema.safeParse(given)
    if (parsed.success) return parsed.data
    throw new InvalidArgumentError(parsed.error.issues[0]?.message ?? 'not valid')
  }
}

/** A commander argument parser for a count, a version or a percentage, whose bounds the edge knows. */
export function wholeNumber(text: string): number {
  if (!/^[0-9]{1,9}$/.test(text)) throw new InvalidArgumentError('It must be a whole number.')
  return Number(text)
}
