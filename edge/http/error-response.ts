import type { Context } from 'hono'
import { type QuartetError, toQuartetError } from '../../shared/errors.ts'
import { jsonLog } from '../../shared/log.ts'
import type { Platform } from '../platform.ts'
import type { App } from '../request-context.ts'
import type { RequestReport } from '../telemetry/request-report.ts'

/** The one place where a failure becomes an answer: the endpoint's error shape, a stable code, the table's status. */
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
  const body = c.req.path.startsWith('/v1/messages')
    ? messagesBody(error, c.get('requestId'))
    : error.toBody()
  return new Response(JSON.stringify(body), { status: error.status, headers })
}

/** The body has Anthropic's shape, and the code and the field of OpenAI's shape as well. */
const messagesBody = (error: QuartetError, requestId: string) => ({
  error: { ...error.toBody().error, type: anthropicType(error) },
  type: 'error',
  request_id: requestId,
})

const anthropicTypes: Readonly<Record<number, string>> = {
  400: 'invalid_request_error',
  401: 'authentication_error',
  403: 'permission_error',
  404: 'not_found_error',
  413: 'request_too_large',
  429: 'rate_limit_error',
  503: 'overloaded_error',
  504: 'timeout_error',
}

/** Anthropic's error type for a failure of this status. */
export const anthropicType = ({ status }: Pick<QuartetError, 'status'>): string =>
  anthropicTypes[status] ?? (status < 500 ? 'invalid_request_error' : 'api_error')

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
