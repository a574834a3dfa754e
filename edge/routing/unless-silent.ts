import type { Clock } from './clock.ts'

/**
 * The same values, as long as each comes within `ms` milliseconds of being asked for; else throws what `silent` gives.
 * Time in which nobody asks does not count. Whoever gives `silent` also ends the source, which may never answer.
 */
export async function* unlessSilent<T>(
  source: AsyncGenerator<T, void>,
  { clock, ms, silent }: { clock: Clock; ms: number; silent: () => Error },
): AsyncGenerator<T, void> {
  const { promise: silence, reject } = Promise.withResolvers<never>()
  silence.catch(() => undefined)
  let askedAt: number | undefined
  // One timer for the whole stream, as there are many values.
  const look = () => {
    const waited = askedAt === undefined ? 0 : clock.now() - askedAt
    if (waited >= ms) reject(silent())
    else cancel = clock.after(ms - waited, look)
  }
  let cancel = clock.after(ms, look)
  try {
    for (;;) {
      askedAt = clock.now()
      const next = await Promise.race([source.next(), silence])
      askedAt = undefined
      if (next.done === true) return
      yield next.value
    }
  } finally {
    cancel()
  }
}
