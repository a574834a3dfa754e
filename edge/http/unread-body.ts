import { createMiddleware } from 'hono/factory'
import type { App } from '../request-context.ts'
import { within } from './within.ts'

/**
 * How much of a body that is refused is still read and dropped: a client that writes all before it reads gets the
 * refusal rather than a broken connection.
 */
export const maxDroppedBytes = 16 * 1024 * 1024
const maxDropMs = 15_000

/**
 * Drops the unread body of a refused request. It runs after authentication, so no stranger's body is read.
 */
export const droppingUnread = createMiddleware<App>(async (c, next) => {
  await next()
  if (c.error !== undefined) await dropUnread(c.req.raw)
})

/** Reads a request's unread body, within bounds of length and time. */
async function dropUnread({ body, headers }: Request): Promise<void> {
  const announced = Number(headers.get('content-length') || Number.POSITIVE_INFINITY)
  if (body === null || body.locked || announced > maxDroppedBytes) return
  const reader = body.getReader()
  const drop = async () => {
    for (let dropped = 0; dropped < maxDroppedBytes; ) {
      const { done, value } = await reader.read()
      if (done) return
      dropped += value.length
    }
  }
  const dropped = drop().catch(() => undefined)
  await within(maxDropMs, { work: dropped, late: () => reader.cancel().catch(() => undefined) })
}
