import type { Context, MiddlewareHandler } from 'hono'
import { z } from 'zod'
import { sha256Hex } from '../../shared/digest.ts'
import { QuartetError } from '../../shared/errors.ts'
import type { AdminApp } from '../request-context.ts'
import { actorName } from './actor.ts'
import { idempotencyKeyOf, keyConflict, usedForAnother } from './idempotency-key.ts'
import { maxJsonBytes, readBytes } from './json-body.ts'
import { recordOutcome } from './record-outcome.ts'
import { pathParameters } from './request-parts.ts'

const RecordedAnswer = z.object({
  status: z.int(),
  body: z.string(),
  /** The answer's own headers. */
  headers: z.record(z.string(), z.string()).default({}),
})
type RecordedAnswer = z.infer<typeof RecordedAnswer>

/** An answer tells how its action ended, and so decides what becomes of its key. */
type Ending =
  /** Malformed, one too many, to be tried later: refused before anything was done, so the key may be used again. */
  | 'nothing done'
  /** It failed after it had begun: it may have acted, wholly even. */
  | 'unknown'
  | 'answered'

function endingOf({ error, res: { status } }: Pick<Context, 'error' | 'res'>, isBegun: boolean): Ending {
  if (status >= 500) return isBegun ? 'unknown' : 'nothing done'
  const isTransient = error instanceof QuartetError && error.isTransient
  return [400, 413, 429].includes(status) || isTransient ? 'nothing done' : 'answered'
}

/**
 * Lets a request with an `Idempotency-Key` act once: a repeat within a day, even at the same time, gets the first
 * answer. If a request failed after it had begun, nobody knows whether it acted: its key stays used. An answer
 * may hold a new key's secret, so it is kept sealed with the Idempotency-Key itself, of which nothing but a hash is
 * stored.
 */
export const idempotent: MiddlewareHandler<AdminApp> = async (c, next) => {
  const given = idempotencyKeyOf(c)
  if (given === undefined) return next()
  pathParameters(c)
  const owner = `${c.get('tenant') ?? 'admin'}\n${actorName(c.get('actor'))}`
  const recorder = async () => c.get('platform').idempotentCall(await sha256Hex(`${owner}\n${given}`))
  const seal = await sealOf(`${owner}\n${given}\n${c.get('platform').adminKey}`)
  const turn = await (await recorder()).begin(await fingerprint(c.req.raw))
  if (turn.kind === 'other') throw usedForAnother()
  if (turn.kind === 'unknown')
    throw keyConflict(
      'the first request with this Idempotency-Key was cut off, or failed after it had begun; look whether it acted, then use a new key',
    )
  if (turn.kind === 'answered') {
    const { body, status } = await seal.open(turn.answer)
    const headers = { 'content-type': 'application/json', 'idempotency-replayed': 'true' }
    return new Response(body === '' ? null : body, { status, headers })
  }
  const act = async () => {
    await next()
    switch (endingOf(c, c.get('isActionBegun') === true)) {
      case 'nothing done':
        return recordOutcome(c, { recorder, record: (of) => of.forget() })
      case 'unknown':
        return recordOutcome(c, { recorder, record: (of) => of.lose() })
      case 'answered': {
        const sealed = await seal.close({
          status: c.res.status,
          body: await c.res.clone().text(),
          headers: {},
        })
        return recordOutcome(c, { recorder, record: (of) => of.finish(sealed) })
      }
    }
  }
  const acted = act()
  // A client that loses the connection may ask for the answer later.
  c.executionCtx.waitUntil(acted.catch(() => undefined))
  await acted
}

async function fingerprint(request: Request): Promise<string> {
  const { pathname, search } = new URL(request.url)
  const content = await sha256Hex(await readBytes(request.clone(), maxJsonBytes))
  return sha256Hex(`${request.method} ${pathname}${search}\n${content}`)
}

/** AES-GCM under a key that a secret gives. */
export async function sealOf(secret: string) {
  const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(secret))
  const key = await crypto.subtle.importKey('raw', digest, 'AES-GCM', false, ['encrypt', 'decrypt'])
  const ivBytes = 12
  return {
    async close(answer: RecordedAnswer): Promise<Uint8Array<ArrayBuffer>> {
      const iv = crypto.getRandomValues(new Uint8Array(ivBytes))
      const text = new TextEncoder().encode(JSON.stringify(answer))
      const sealed = new Uint8Array(await crypto.subtle.encrypt({ name: 'AES-GCM', iv }, key, text))
      const both = new Uint8Array(ivBytes + sealed.length)
      both.set(iv)
      both.set(sealed, ivBytes)
      return both
    },
    /** Throws `idempotency_conflict` for what was sealed with another secret. */
    async open(both: Uint8Array<ArrayBuffer>): Promise<RecordedAnswer> {
      const iv = both.subarray(0, ivBytes)
      const text = await crypto.subtle
        .decrypt({ name: 'AES-GCM', iv }, key, both.subarray(ivBytes))
        .catch((cause: unknown) => {
          throw keyConflict(
            "the answer kept for this Idempotency-Key cannot be read any more, as the operator's key was changed; look whether the first request acted, then use a new key",
            cause,
          )
        })
      return RecordedAnswer.parse(JSON.parse(new TextDecoder().decode(text)))
    },
  }
}
