import { setTimeout as delay } from 'node:timers/promises'
import { CliFailure } from '../command/failure.ts'

const timeoutMs = 120_000
/** A part that takes long is asked less often, as each question takes processor time from it. */
const intervalMs = { least: 50, most: 500, ofWait: 0.1 }

/** Resolves once a GET of the URL succeeds. Throws after two minutes, or when `signal` says so. */
export async function untilAnswers(url: string, signal?: AbortSignal): Promise<void> {
  const start = Date.now()
  const deadline = start + timeoutMs
  for (;;) {
    const response = await fetch(url, signal === undefined ? {} : { signal }).catch(() => undefined)
    await response?.body?.cancel()
    signal?.throwIfAborted()
    if (response?.ok) return
    if (Date.now() > deadline)
      throw new CliFailure(`${url} did not answer within ${timeoutMs / 1000} s`, {
        remedy: 'see the logs under QUARTET_HOME/logs',
      })
    const { least, most, ofWait } = intervalMs
    await delay(Math.min(most, Math.max(least, ofWait * (Date.now() - start))))
  }
}
