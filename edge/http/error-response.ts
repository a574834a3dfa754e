import type { Context } from 'hono'
import { type QuartetError, toQuartetError } from '../../shared/errors.ts'
import type { App } from './context.ts'

/** The one place where a failure becomes an answer: OpenAI's error shape, a stable code, the table's status. */
export function errorResponse(thrown: unknown, c: Context<App>): Response {
  const error = toQuartetError(thrown)
  logServerError(error, c.get('requestId'))
  const headers = new Headers({ 'content-type': 'application/json', 'x-request-id': c.get('requestId') })
  if (error.retryAfterSeconds !== undefined) headers.set('retry-after', String(error.retryAfterSeconds))
  if (error.status === 401) headers.set('www-authenticate', 'Bearer')
  return new Response(JSON.stringify(error.toBody()), { status: error.status, headers })
}

/** Logs what an operator must know: never a prompt, a secret or a client's mistake. */
export function logServerError(error: QuartetError, requestId: string): void {
  if (error.status < 500) return
  const cause = error.cause instanceof Error ? (error.cause.stack ?? error.cause.message) : undefined
  console.error(JSON.stringify({ requestId, code: error.code, message: error.message, cause }))
}
