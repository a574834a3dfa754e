import { createMiddleware } from 'hono/factory'
import { QuartetError } from '../../shared/errors.ts'
import type { App } from '../http/context.ts'
import { bearerToken } from './bearer.ts'

/** Lets in whoever holds the operator's key. A tenant's key is refused like any other. */
export const authenticateAdmin = createMiddleware<App>(async (c, next) => {
  const token = bearerToken(c.req.header('authorization'))
  if (token === undefined || !(await sameSecret(token, c.get('platform').adminKey)))
    throw new QuartetError(
      'invalid_admin_key',
      'the admin key is missing or wrong; send it as "Authorization: Bearer …"',
    )
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
