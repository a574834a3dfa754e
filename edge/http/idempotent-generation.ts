import type { Context } from 'hono'
import { createMiddleware } from 'hono/factory'
import { sha256Hex } from '../../shared/digest.ts'
import type { TenantApp } from '../request-context.ts'
import { generationBytes, type ReadGenerationBody } from './generation-request.ts'
import { sealOf } from './idempotency.ts'
import { idempotencyKeyOf, keyConflict, usedForAnother } from './idempotency-key.ts'
import { recordOutcome } from './record-outcome.ts'

/** Headers that tell how the answer came about; the others belong to the request that asks. */
const isOwnHeader = (name: string) => name.startsWith('x-quartet-') || name === 'server-timing'
const ownHeaders = (headers: Headers) =>
  Object.fromEntries([...headers].filter(([name]) => isOwnHeader(name)))

interface GenerationSteps {
  /** Whether the tenant's limits have room for a request. */
  readonly hasRoom: (c: Context<TenantApp>) => Promise<boolean>
  readonly readBody: ReadGenerationBody<unknown>
}

/** A longer answer is not kept. */
const maxKeptLength = 64 * 1024

const isOver =
  'the request with this Idempotency-Key ran and was charged; its answer was a stream or too long to keep. Use a new key to run it again'

/**
 * A client that lost its connection cannot know whether its request ran, and a repeat would be charged again. This lets
 * a generation with an `Idempotency-Key` run, and be charged, once: the same key at the same time is refused; for
 * a day after, it gets the first answer when that was JSON of at most 64 KiB, and else a 409 that says so. The answer
 * is kept sealed with the key itself. After a failure the key may be used again. Nothing is kept of a request whose body
 * `readBody` refuses. Where the tenant's limits have no room, only a kept answer is given: no body is parsed for that.
 */
export const idempotentGeneration = ({ hasRoom, readBody }: GenerationSteps) =>
  createMiddleware<TenantApp>(async (c, next) => {
    const given = idempotencyKeyOf(c)
    if (given === undefined) return next()
    const bytes = await generationBytes(c)
    if (await hasRoom(c)) await readBody(c)
    const owner = `generation\n${c.get('tenant')}\n${c.get('keyId')}\n${given}`
    const { adminKey, idempotentCall } = c.get('platform')
    const seal = await sealOf(`${owner}\n${adminKey}`)
    const fingerprint = await sha256Hex(`${c.req.path}\n${await sha256Hex(bytes)}`)
    const call = async () => idempotentCall(await sha256Hex(owner))
    const turn = await (await call()).begin(fingerprint, { waitMs: 0 })
    switch (turn.kind) {
      case 'other':
        throw usedForAnother()
      case 'unknown':
        throw keyConflict(
          'the first request with this Idempotency-Key still runs, or was cut off; wait for it, or use a new key',
        )
      case 'answered': {
        const kept = await seal.open(turn.answer)
        if (kept.body === '') throw keyConflict(isOver)
        const headers = {
          ...kept.headers,
          'content-type': 'application/json',
          'idempotency-replayed': 'true',
        }
        return new Response(kept.body, { status: kept.status, headers })
      }
      case 'first': {
        await next()
        const { res } = c
        const recorder = call
        if (res.status >= 400) return recordOutcome(c, { recorder, record: (of) => of.forget() })
        const isStream = res.headers.get('content-type')?.startsWith('application/json') !== true
        const text = isStream ? '' : await res.clone().text()
        const body = text.length <= maxKeptLength ? text : ''
        const kept = { status: res.status, body, headers: ownHeaders(res.headers) }
        const sealed = await seal.close(kept)
        await recordOutcome(c, { recorder, record: (of) => of.finish(sealed) })
      }
    }
  })
