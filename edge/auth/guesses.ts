import { QuartetError } from '../../shared/errors.ts'
import type { GuessThrottle } from './guess-throttle.ts'

/** The kind of key that is guessed: a tenant's wrong keys hold back no operator. */
type Door = 'tenant' | 'admin'

/** Who tries keys, where. */
export interface Guesser {
  readonly throttle: GuessThrottle
  readonly address: string
  readonly door: Door
}

/** Throws `rate_limited` for an address that has sent too many wrong keys; nothing is looked up for it. */
export function refuseGuessers({ address, door, throttle }: Guesser): void {
  const wait = throttle.wait(address, door)
  if (wait !== undefined)
    throw new QuartetError('rate_limited', 'too many wrong keys from this address; wait, and check the key', {
      retryAfterSeconds: wait,
    })
}

/** Counts a refusal by `check` as a wrong guess; throws `rate_limited` in its place when there were too many. */
export async function countingGuesses<T>(guesser: Guesser, check: () => Promise<T>): Promise<T> {
  try {
    return await check()
  } catch (thrown) {
    if (!(thrown instanceof QuartetError) || thrown.status !== 401) throw thrown
    refuseGuessers(guesser)
    guesser.throttle.failed(guesser.address, guesser.door)
    throw thrown
  }
}
