import { type Context, Hono } from 'hono'
import { routePath } from 'hono/route'
import { allowedMethods } from '../../shared/allowed-methods.ts'
import { QuartetError, toQuartetError } from '../../shared/errors.ts'
import { newRequestId, RequestId } from '../../shared/ids.ts'
import type { Log } from '../../shared/log.ts'
import { preciseNow } from '../../shared/telemetry/span.ts'
import type { NodeInfo } from '../../shared/wire.ts'
import type { CallTrace } from '../engine/call-trace.ts'
import type { Settlements } from '../settlements/settlements.ts'
import type { Tracing } from '../telemetry/tracing.ts'
import type { Authorization } from './authorization.ts'
import { generate } from './generate.ts'
import { failureText } from './log.ts'
import type { NodeMetrics } from './metrics.ts'
import { putAdapter } from './put-adapter.ts'
import type { LoadedModel, Serving } from './serving.ts'
import { answerSettlements } from './settlements.ts'

export interface NodeAppOptions {
  readonly authorization: Authorization
  readonly serving: Serving
  readonly metrics: NodeMetrics
  readonly log: Log
  readonly tracing: Tracing
  readonly settlements: Settlements
}

type Env = {
  Variables: { requestId: RequestId; trace: CallTrace | undefined; errorCode: string | undefined }
}

/**
 * The node's HTTP interface: shared/wire.ts for edges, and probes and metrics for the node's operator. Every
 * answer carries `x-request-id`: the caller's when it is a request id, else a fresh one.
 */
export function nodeApp(options: NodeAppOptions): Hono<Env> {
  const { authorization, log, metrics, serving, settlements, tracing } = options
  const app = new Hono<Env>()

  const refuse = (context: Context<Env>, error: QuartetError): Response => {
    const requestId = context.get('requestId')
    context.set('errorCode', error.code)
    // A probe that finds the node loading or draining is no request that failed.
    if (context.req.method === 'POST' && context.req.path === '/v1/generate') metrics.refused(error.code)
    log(error.code === 'internal_error' ? 'error' : 'info', 'refused', {
      requestId,
      code: error.code,
      reason: reasonFor(error),
    })
    return errorResponse(error)
  }

  app.use(async (context, next) => {
    const given = RequestId.safeParse(context.req.header('x-request-id'))
    const requestId = given.success ? given.data : newRequestId()
    context.set('requestId', requestId)
    const startedAt = preciseNow()
    const trace = tracing.arrived(context.req.raw, requestId)
    context.set('trace', trace)
    await next()
    context.header('x-request-id', requestId)
    context.header('x-content-type-options', 'nosniff')
    const { method, path } = context.req
    // The engine reports the requests that it took when they are over.
    if (trace === undefined || (path === '/v1/generate' && context.res.ok)) return
    const error = context.get('errorCode')
    const route = routePath(context, -1)
    tracing.called({ requestId, method, route, status: context.res.status, startedAt, error }, trace)
  })
  app.post('/v1/generate', (context) =>
    generate(context.req.raw, { authorization, serving, settlements, trace: context.get('trace') }),
  )
  app.put('/v1/adapters/:digest', async (context) =>
    context.json(
      await putAdapter(context.req.raw, { digest: context.req.param('digest'), authorization, serving }),
    ),
  )
  app.post('/v1/settlements', async (context) =>
    context.json(await answerSettlements(context.req.raw, { authorization, settlements })),
  )
  app.get('/v1/node', async (context) => {
    await authorization.admit(context.req.raw, { action: 'info', maxBytes: 0 })
    return context.json(nodeInfo(serving.model ?? serving.open(), serving))
  })
  app.get('/health', (context) => context.json({ status: 'ok' }))
  app.get('/ready', (context) => {
    serving.checkReady()
    return context.json({ status: 'ready' })
  })
  app.get('/metrics', async (context) =>
    context.body(await metrics.text(), 200, { 'content-type': metrics.contentType }),
  )

  for (const [path, allow] of allowedMethods(app.routes))
    app.all(path, (context) =>
      refuse(
        context,
        new QuartetError('method_not_allowed', `${path} answers ${allow.join(', ')} only`, { allow }),
      ),
    )
  app.notFound((context) =>
    refuse(
      context,
      new QuartetError('not_found', `there is nothing at ${context.req.method} ${context.req.path}`),
    ),
  )
  app.onError((error, context) => refuse(context, toQuartetError(error)))
  return app
}

/** The reason as the log tells it, without anything that a tenant wrote. */
function reasonFor(error: QuartetError): string {
  if (error.code === 'grammar_invalid') return 'its grammar cannot be compiled'
  return error.code === 'internal_error' ? failureText(error.cause) : error.message
}

function errorResponse(error: QuartetError): Response {
  const answer = Response.json(error.toBody(), { status: error.status })
  if (error.retryAfterSeconds !== undefined)
    answer.headers.set('retry-after', String(error.retryAfterSeconds))
  if (error.allow !== undefined) answer.headers.set('allow', error.allow.join(', '))
  if (error.code === 'body_too_large') answer.headers.set('connection', 'close')
  return answer
}

function nodeInfo({ adapters, digest, engine, limits, slug }: LoadedModel, { draining }: Serving): NodeInfo {
  return {
    backbone: { slug, digest },
    contextLength: limits.contextLength,
    running: engine.running,
    waiting: engine.waiting,
    maxBatch: limits.maxBatch,
    residentAdapters: adapters.count,
    draining,
  }
}
