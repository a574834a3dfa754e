import type { Context } from 'hono'
import { createMiddleware } from 'hono/factory'
import { sha256Hex } from '../../shared/digest.ts'
import { QuartetError } from '../../shared/errors.ts'
import { maxViewAgeMs } from '../feed/feed-view.ts'
import { readerOf } from '../http/reader.ts'
import type { TenantApp } from '../request-context.ts'
import type { KeyRecord } from '../store/records.ts'
import { ensureCurrent, readKey, readTenant, remembersKey } from '../tenants/read.ts'
import { checkApiKey } from './api-key.ts'
import { bearerToken } from './bearer.ts'
import { countingGuesses, type Guesser, refuseGuessers } from './guesses.ts'

/**
 * Lets in a caller that holds a key of an active tenant, before anything else of the request is read; sets `tenant`,
 * `keyId` and `scopes`. The secret is only hashed: look-ups, caches and storage know its SHA-256, so their duration
 * reveals nothing about a key. This isolate's memory of the key is at most
 * `maxViewAgeMs` old, also when the request begins to run behind a body that was slow.
 */
export const authenticate = createMiddleware<TenantApp>(async (c, next) => {
  const started = performance.now()
  await letIn(c)
  const at = Date.now()
  c.set('letInAnew', async () => {
    if (Date.now() - at >= maxViewAgeMs) await letIn(c)
  })
  c.get('timings').push({ name: 'auth', ms: performance.now() - started })
  await next()
})

async function letIn(c: Context<TenantApp>): Promise<void> {
  // Clients of Anthropic's API send it in a header of its own.
  const token = bearerToken(c.req.header('authorization')) ?? c.req.header('x-api-key')
  if (token === undefined)
    throw new QuartetError('invalid_api_key', 'no API key; send it as "Authorization: Bearer qk_…"')
  const { keyId, scopes = null, tenant } = await keyOf(token, c)
  c.get('report').caller = { tenant, keyId }
  const record = await readTenant(tenant, readerOf(c))
  if (record === undefined) throw unknownKey()
  if (record.status === 'suspended')
    throw new QuartetError('tenant_suspended', `the tenant ${tenant} is suspended; ask the operator`)
  c.set('tenant', tenant)
  c.set('tenantRecord', record)
  c.set('keyId', keyId)
  c.set('scopes', scopes)
  c.set('actor', { kind: 'key', keyId })
}

async function keyOf(token: string, c: Context<TenantApp>): Promise<KeyRecord> {
  const reader = readerOf(c)
  const { clientAddress, guesses } = c.get('platform')
  const { address, isShared } = clientAddress(c.req.raw)
  const guesser: Guesser = { throttle: guesses, address, door: 'tenant' }
  const hash = await countingGuesses(guesser, async () => sha256Hex(checkApiKey(token)))
  // A key in use is let through even while somebody at the same address guesses. Where all clients count as one address,
  // any right key is let through: 190 random bits cannot be guessed, and one guesser would keep all others out.
  if (!isShared && !remembersKey(hash, reader)) refuseGuessers(guesser)
  await ensureCurrent(hash, reader)
  return countingGuesses(guesser, async () => {
    const key = await readKey(hash, reader)
    if (key == null || (key.expiresAt !== undefined && key.expiresAt <= Date.now())) throw unknownKey()
    return key
  })
}

const unknownKey = () => new QuartetError('invalid_api_key', 'the API key is unknown, revoked or expired')
