import type { Context } from 'hono'
import { type QuartetError, toQuartetError } from '../../shared/errors.ts'
import { jsonLog } from '../../shared/log.ts'
import type { Platform } from '../platform.ts'
import type { App } from '../request-context.ts'
import type { RequestReport } from '../telemetry/request-report.ts'

/** The one place where a failure becomes an answer: OpenAI's error shape, a stable code, the table's status. */
export function errorResponse(thrown: unknown, c: Context<App>): Response {
  const error = toQuartetError(thrown)
  reportError(error, c)
  const headers = new Headers({
    'content-type': 'application/json',
    'x-content-type-options': 'nosniff',
    'x-request-id': c.get('requestId'),
  })
  if (error.retryAfterSeconds !== undefined) headers.set('retry-after', String(error.retryAfterSeconds))
  if (error.allow !== undefined) headers.set('allow', error.allow.join(', '))
  if (error.status === 401) headers.set('www-authenticate', 'Bearer')
  return new Response(JSON.stringify(error.toBody()), { status: error.status, headers })
}

/** Notes a failure for the request's report, and logs what an operator must know: never a prompt or a secret. */
export function reportError(error: QuartetError, c: Pick<Context<App>, 'get'>): void {
  // Without its variables in order the worker has neither report nor platform, and that is the failure to log.
  const report: RequestReport | undefined = c.get('report')
  const platform: Platform | undefined = c.get('platform')
  if (report !== undefined) report.errorCode = error.code
  if (error.status < 500) return
  const log = platform?.log ?? jsonLog('info', console.log)
  log('error', 'failed', {
    requestId: c.get('requestId'),
    code: error.code,
    message: error.message,
    cause: causesOf(error),
  })
}

/** The stack of what failed, and what that came of. */
function causesOf({ cause }: Error): string | undefined {
  if (!(cause instanceof Error)) return undefined
  const further: string[] = []
  for (let next = cause.cause; next instanceof Error; next = next.cause) further.push(`caused by ${next}`)
  return [cause.stack ?? cause.message, ...further].join('\n')
}
