import type { QuartetError } from '../../shared/errors.ts'
import type { TrainerReport } from '../../shared/training/trainer-protocol.ts'

/** Whether another try would fail as this one did. */
const isJobAtFault = ({ code, status }: QuartetError): boolean => status < 500 && code !== 'rate_limited'

/** These fields of a job change what failed. */
const remedies: Partial<Record<QuartetError['code'], string>> = {
  training_diverged:
    'create the job again with half the learning_rate_multiplier (auto is 1), or with placement after-first, which trains most evenly',
}

/** The report of a trainer whose job failed: the job ends, or another trainer tries it again. */
export function failureReport(error: QuartetError): TrainerReport {
  if (!isJobAtFault(error)) return { type: 'released', why: 'failed' }
  const { code, message, param } = error
  const remedy = remedies[code]
  const told = remedy === undefined ? message : `${message}; ${remedy}`
  return { type: 'failed', code, message: told.slice(0, 2_000), param: param ?? null }
}
