import type { Context } from 'hono'
import { createMiddleware } from 'hono/factory'
import { routePath } from 'hono/route'
import { newRequestId, type RequestId } from '../../shared/ids.ts'
import { traceHeaders } from '../../shared/telemetry/trace-context.ts'
import type { Bindings, Platform } from '../platform.ts'
import type { App } from '../request-context.ts'
import { logAccess } from '../telemetry/access-log.ts'
import { RequestReport } from '../telemetry/request-report.ts'

/** Names the request, says so on whatever leaves, opens the platform, and reports the request's end. Outermost. */
export const requestContext = (
  platformOf: (bindings: Bindings) => Platform,
  newId: () => RequestId = newRequestId,
) =>
  createMiddleware<App>(async (c, next) => {
    const requestId = newId()
    c.set('requestId', requestId)
    c.header('x-request-id', requestId)
    const platform = platformOf(c.env)
    const report = new RequestReport({ request: c.req.raw, requestId, telemetry: platform.telemetry })
    c.set('platform', platform)
    c.set('report', report)
    c.set('timings', report.timings)
    // The runtime ends what nobody waits for once the client is gone: the request's end is waited for on every path.
    c.executionCtx.waitUntil(report.over)
    try {
      await next()
      c.header('x-content-type-options', 'nosniff')
      c.header('x-request-id', requestId)
      c.header('traceparent', traceHeaders(report.trace).traceparent)
      report.route = routePath(c, -1)
    } finally {
      if (!report.isStreaming) endRequest(c, c.res.status)
    }
  })

/** Tells log and trace that a request is over; a second call does nothing. */
export function endRequest(c: Pick<Context<App>, 'get' | 'executionCtx'>, status: number): void {
  const { log, telemetry } = c.get('platform')
  const report = c.get('report')
  if (report.ending !== undefined) return
  report.end(status)
  logAccess(log, report)
  if (telemetry.on) telemetry.ended(report, (work) => c.executionCtx.waitUntil(work))
}
