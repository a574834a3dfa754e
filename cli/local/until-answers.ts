import { setTimeout as delay } from 'node:timers/promises'
import { CliFailure } from '../command/failure.ts'

const timeoutMs = 120_000
const intervalMs = 50

/** Resolves once a GET of the URL succeeds. Throws after two minutes, or when `signal` says so. */
export async function untilAnswers(url: string, signal?: AbortSignal): Promise<void> {
  const deadline = Date.now() + timeoutMs
  for (;;) {
    const response = await fetch(url, signal === undefined ? {} : { signal }).catch(() => undefined)
    await response?.body?.cancel()
    signal?.throwIfAborted()
    if (response?.ok) return
    if (Date.now() > deadline)
      throw new CliFailure(`${url} did not answer within ${timeoutMs / 1000} s`, {
        remedy: 'see the logs under QUARTET_HOME/logs',
      })
    await delay(intervalMs)
  }
}
