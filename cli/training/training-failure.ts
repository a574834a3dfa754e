import { QuartetError } from '../../shared/errors.ts'
import { CliFailure } from '../command/failure.ts'

/** These options of the command change what failed. */
const remedies: Partial<Record<QuartetError['code'], string>> = {
  training_diverged:
    'train anew with --force and half the rates that it has (--rate, --anchor-rate, --static-rate), --optimizer adamw with --clip 0.3, or the start that trains most evenly (--anchor own --placement after-first)',
}

/** A failure of a training, with the options to change where there are some. */
export function trainingFailure(thrown: unknown): unknown {
  const remedy = thrown instanceof QuartetError ? remedies[thrown.code] : undefined
  return thrown instanceof QuartetError && remedy !== undefined
    ? new CliFailure(thrown.message, { remedy, cause: thrown })
    : thrown
}
