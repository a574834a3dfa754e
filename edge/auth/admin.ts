import { createMiddleware } from 'hono/factory'
import { QuartetError } from '../../shared/errors.ts'
import type { AdminApp } from '../request-context.ts'
import { bearerToken } from './bearer.ts'
import { countingGuesses, refuseGuessers } from './guesses.ts'

/** Lets in whoever holds the operator's key. A tenant's key is refused like any other. */
export const authenticateAdmin = createMiddleware<AdminApp>(async (c, next) => {
  // Before the key is compared: a right one that came through would let others be tried at any speed.
  refuseGuessers(c, 'admin')
  const token = bearerToken(c.req.header('authorization'))
  const check = async () => {
    if (token === undefined || !(await sameSecret(token, c.get('platform').adminKey)))
      throw new QuartetError(
        'invalid_admin_key',
        'the admin key is missing or wrong; send what the edge has as QUARTET_ADMIN_KEY, as "Authorization: Bearer …" (the command line takes it from the variable of that name)',
      )
  }
  await countingGuesses(c, { door: 'admin', check })
  c.set('actor', { kind: 'admin' })
  await next()
})

/** Equality whose time depends on neither secret: both are hashed to one length first. */
async function sameSecret(given: string, expected: string): Promise<boolean> {
  const encoder = new TextEncoder()
  const [a, b] = await Promise.all([
    crypto.subtle.digest('SHA-256', encoder.encode(given)),
    crypto.subtle.digest('SHA-256', encoder.encode(expected)),
  ])
  return crypto.subtle.timingSafeEqual(a, b)
}
