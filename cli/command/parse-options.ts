import type { Command } from 'commander'
import type { z } from 'zod'
import { CliFailure } from './failure.ts'

/** A command's options by their schema. The first that is wrong is named as the command line spells it. */
export function parseOptions<T>(
  schema: z.ZodType<T>,
  command: Command,
  given: Readonly<Record<string, unknown>> = command.opts(),
): T {
  const parsed = schema.safeParse(given)
  if (parsed.success) return parsed.data
  const [issue] = parsed.error.issues
  const name = issue?.path[0]
  const option = command.options.find((candidate) => candidate.attributeName() === name)
  const problem = issue?.message ?? 'the options do not fit together'
  throw new CliFailure(option?.long === undefined ? problem : `${option.long} ${problem}`)
}
