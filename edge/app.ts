import { Hono } from 'hono'
import { cors } from 'hono/cors'
import { QuartetError } from '../shared/errors.ts'
import { authenticateAdmin } from './auth/admin.ts'
import { authenticate } from './auth/authenticate.ts'
import { rateLimits } from './budgets/rate-limit-headers.ts'
import { errorResponse } from './http/error-response.ts'
import { requestContext } from './http/open-request.ts'
import { droppingUnread } from './http/unread-body.ts'
import { answerHeaders } from './openapi/operation.ts'
import { platformOf } from './platform.ts'
import type { App } from './request-context.ts'
import { tenantOfPath } from './routes/admin-tenants.ts'
import { consoleFiles } from './routes/console.ts'
import { nearestRoute } from './routes/nearest-route.ts'
import { registerRoutes } from './routes/table/route.ts'
import { routes } from './routes/table/routes.ts'

export const app = new Hono<App>()
app.use(requestContext(platformOf))
/** The paths for tenants: their API, and vLLM's paths beside it. */
const tenantPaths = ['/v1/*', '/tokenize', '/detokenize', '/tokenizer_info'] as const
for (const path of tenantPaths) {
  app.use(
    path,
    cors({
      origin: '*',
      allowHeaders: ['*', 'authorization'],
      exposeHeaders: Object.keys(answerHeaders),
      maxAge: 86_400,
    }),
  )
  // Every path needs a key, also one that there is not: nothing is told to anyone else.
  app.use(path, authenticate)
  app.use(path, droppingUnread)
  app.use(path, rateLimits)
}
app.use('/admin/v1/*', authenticateAdmin)
app.use('/admin/v1/*', droppingUnread)
app.use('/admin/v1/tenants/:id/*', tenantOfPath)
app.use('/console/*', consoleFiles)
registerRoutes(app, routes)
// The error is returned, not thrown: an error thrown here passes by the outermost middleware.
app.notFound((c) => {
  const { method, path } = c.req
  const nearest = nearestRoute({ method, path }, routes)
  const remedy = nearest === undefined ? 'GET /docs lists what there is' : `${nearest} serves what is like it`
  return errorResponse(new QuartetError('not_found', `nothing is at ${method} ${path}; ${remedy}`), c)
})
app.onError(errorResponse)
