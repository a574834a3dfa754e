import { createMiddleware } from 'hono/factory'
import { sha256Hex } from '../../shared/digest.ts'
import { QuartetError } from '../../shared/errors.ts'
import type { TenantApp } from '../http/context.ts'
import { readKey } from '../tenants/read.ts'
import { checkApiKey } from './api-key.ts'
import { bearerToken } from './bearer.ts'

/**
 * Lets in whoever holds a tenant's key, before anything else of the request is read; sets `tenant`. The secret
 * is only ever hashed: look-ups, caches and storage know its SHA-256.
 */
export const authenticate = createMiddleware<TenantApp>(async (c, next) => {
  const started = performance.now()
  const token = bearerToken(c.req.header('authorization'))
  if (token === undefined)
    throw new QuartetError('invalid_api_key', 'no API key; send it as "Authorization: Bearer qk_…"')
  const hash = await sha256Hex(checkApiKey(token))
  const key = await readKey(hash, c)
  if (key === undefined || (key.expiresAt !== undefined && key.expiresAt <= Date.now()))
    throw new QuartetError('invalid_api_key', 'the API key is unknown, revoked or expired')
  c.set('tenant', key.tenant)
  c.get('timings').push({ name: 'auth', ms: performance.now() - started })
  await next()
})
