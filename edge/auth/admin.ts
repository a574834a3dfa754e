import { createMiddleware } from 'hono/factory'
import { QuartetError } from '../../shared/errors.ts'
import type { AdminApp } from '../request-context.ts'
import { bearerToken } from './bearer.ts'
import { countingGuesses, type Guesser, refuseGuessers } from './guesses.ts'

/** Lets in a caller that holds the operator's key. A tenant's key is refused like any other. */
export const authenticateAdmin = createMiddleware<AdminApp>(async (c, next) => {
  const { adminKey, clientAddress, guesses } = c.get('platform')
  const { address, isShared } = clientAddress(c.req.raw)
  const guesser: Guesser = { throttle: guesses, door: 'admin', address }
  // Before the key is compared: if the right one came through, others could be tried at any speed. Where that is hopeless,
  // or where all clients count as one address, no sender of wrong ones locks the operator out.
  const isGuarded = !isShared && canBeGuessed(adminKey)
  if (isGuarded) refuseGuessers(guesser)
  const token = bearerToken(c.req.header('authorization'))
  // A request without a key guesses none.
  if (token === undefined) throw wrongKey()
  await countingGuesses(guesser, async () => {
    if (!(await sameSecret(token, adminKey))) throw wrongKey()
  })
  // Keys that came at the same time were found wrong meanwhile.
  if (isGuarded) refuseGuessers(guesser)
  c.set('actor', { kind: 'admin' })
  await next()
})

const wrongKey = () =>
  new QuartetError(
    'invalid_admin_key',
    'the admin key is missing or wrong; send what the edge has as QUARTET_ADMIN_KEY, as "Authorization: Bearer …" (the command line takes it from the variable of that name)',
  )

const unguessableLength = 32
const unguessableBits = 96

/**
 * Whether somebody who tries keys as fast as the network lets them could find this one: it is short, or repeats itself
 * (the entropy of its letters, in bits, is small).
 */
export function canBeGuessed(key: string): boolean {
  return key.length < unguessableLength || letterBits(key) < unguessableBits
}

/**
 * The entropy of a text's letters, in bits. It is about the strength of a random key; a word is far weaker than that.
 */
export function letterBits(text: string): number {
  const counts = new Map<string, number>()
  for (const letter of text) counts.set(letter, (counts.get(letter) ?? 0) + 1)
  return [...counts.values()].reduce((sum, count) => sum + count * Math.log2(text.length / count), 0)
}

/** Equality whose time depends on neither secret: both are hashed to one length first. */
async function sameSecret(given: string, expected: string): Promise<boolean> {
  const encoder = new TextEncoder()
  const [a, b] = await Promise.all([
    crypto.subtle.digest('SHA-256', encoder.encode(given)),
    crypto.subtle.digest('SHA-256', encoder.encode(expected)),
  ])
  return crypto.subtle.timingSafeEqual(a, b)
}
