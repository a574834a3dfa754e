import type { Context } from 'hono'
import { QuartetError } from '../../shared/errors.ts'
import type { App } from '../request-context.ts'

type Requester = Pick<Context<App>, 'get' | 'req'>

/** Of which keys: a tenant's wrong keys hold back no operator. */
export type Door = 'tenant' | 'admin'

/** Throws `rate_limited` for an address that has sent too many wrong keys; nothing is looked up for it. */
export function refuseGuessers(c: Requester, door: Door): void {
  const wait = c.get('platform').guesses.wait(addressOf(c), door)
  if (wait !== undefined)
    throw new QuartetError('rate_limited', 'too many wrong keys from this address; wait, and check the key', {
      retryAfterSeconds: wait,
    })
}

/** Counts a refusal by `check` as a wrong guess; throws `rate_limited` in its place when there were too many. */
export async function countingGuesses<T>(
  c: Requester,
  { check, door }: { door: Door; check: () => Promise<T> },
): Promise<T> {
  try {
    return await check()
  } catch (thrown) {
    if (!(thrown instanceof QuartetError) || thrown.status !== 401) throw thrown
    refuseGuessers(c, door)
    c.get('platform').guesses.failed(addressOf(c), door)
    throw thrown
  }
}

/** Cloudflare says who the client is, and overwrites what the client says of itself. */
const addressOf = (c: Requester): string => c.req.header('cf-connecting-ip') ?? 'local'
