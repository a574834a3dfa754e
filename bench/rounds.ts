import { z } from 'zod'
import { CliFailure } from '../cli/command/failure.ts'

const Rounds = z.coerce.number().int().min(1).max(100)

/** How often each side is measured, as --rounds says it; `usual` times without it. Throws `CliFailure` for no such number. */
export function roundsNamed(named: string | undefined, usual: number): number {
  if (named === undefined) return usual
  const parsed = Rounds.safeParse(named)
  if (!parsed.success)
    throw new CliFailure(`--rounds is not a number of rounds: ${named}`, { remedy: 'give one from 1 to 100' })
  return parsed.data
}
