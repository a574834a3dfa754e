import { CliFailure } from './command/failure.ts'
import type { ProgressPrinter } from './command/progress.ts'
import { stopRequest } from './local/stop-request.ts'

export interface Supervision extends Pick<ProgressPrinter, 'onProgress'> {
  readonly signal: AbortSignal
}

/** Runs a long job with progress on stderr; Ctrl-C stops it and leaves nothing half-made. */
export async function supervised<T>(job: (supervision: Supervision) => Promise<T>): Promise<T> {
  const { progressPrinter } = await import('./command/progress.ts')
  using printer = progressPrinter()
  using stop = stopRequest(() => process.exit(130))
  try {
    return await job({ onProgress: printer.onProgress, signal: stop.signal })
  } catch (error) {
    if (!stop.signal.aborted) throw error
    throw new CliFailure('stopped', { remedy: 'run the same command again to go on', cause: error })
  }
}
