import { constants } from 'node:os'
import type { GpuRun } from './gpu-run.ts'

/** To end takes a moment as well. */
const beforeTheEnd = 0.98

const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/**
 * Until it is disposed of, a signal, the limit of time or an error outside every part ends the process, with all that was found
 * printed and written. Runs of the model are on other threads, so that no run keeps this from its turn.
 */
export function endingEarly(run: GpuRun): Disposable {
  const listening = new DisposableStack()
  for (const signal of signals) {
    const end = () => {
      run.cutOff({ code: 'interrupted', message: `${signal} ended it` })
      process.exit(128 + constants.signals[signal])
    }
    process.on(signal, end)
    listening.defer(() => process.off(signal, end))
  }
  const limit = setTimeout(
    () => {
      run.cutOff({
        code: 'time_limit',
        message: `it took longer than the ${run.clock.minutes} minutes of the run`,
      })
      process.exit(1)
    },
    beforeTheEnd * run.clock.left * 1000,
  )
  listening.defer(() => clearTimeout(limit))
  const failed = (error: unknown) => {
    console.error(error)
    run.cutOff({ code: 'internal_error', message: error instanceof Error ? error.message : String(error) })
    process.exit(1)
  }
  process.on('uncaughtException', failed)
  listening.defer(() => process.off('uncaughtException', failed))
  return listening
}
