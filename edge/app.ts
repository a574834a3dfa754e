import { Hono } from 'hono'
import { cors } from 'hono/cors'
import { QuartetError } from '../shared/errors.ts'
import { authenticateAdmin } from './auth/admin.ts'
import { authenticate } from './auth/authenticate.ts'
import type { App, TenantApp } from './http/context.ts'
import { errorResponse } from './http/error-response.ts'
import { requestContext } from './http/request-context.ts'
import { deleteAlias, putAdapter, putAlias } from './routes/admin-adapters.ts'
import { getBackbones, putBackbone } from './routes/admin-backbones.ts'
import { createKey, createTenant, getTenant, listTenants, revokeKey } from './routes/admin-tenants.ts'
import { chatCompletions } from './routes/chat-completions.ts'
import { completions } from './routes/completions.ts'
import { getModel, listModels } from './routes/models.ts'

const exposedHeaders = [
  'x-request-id',
  'x-quartet-adapter',
  'x-quartet-node',
  'x-quartet-retries',
  'server-timing',
  'retry-after',
]

/** What tenants use; every path needs a key, so that nothing is told to anyone else. */
const tenantApi = new Hono<TenantApp>()
  .use(authenticate)
  .post('/chat/completions', chatCompletions)
  .post('/completions', completions)
  .get('/models', listModels)
  .get('/models/:id', getModel)
  .all('/chat/completions', methodNotAllowed)
  .all('/completions', methodNotAllowed)
  .all('/models', methodNotAllowed)

/** What operators use. */
const adminApi = new Hono<App>()
  .use(authenticateAdmin)
  .get('/backbones', getBackbones)
  .put('/backbones/:slug', putBackbone)
  .get('/tenants', listTenants)
  .post('/tenants', createTenant)
  .get('/tenants/:id', getTenant)
  .post('/tenants/:id/keys', createKey)
  .delete('/tenants/:id/keys/:keyId', revokeKey)
  .put('/tenants/:id/adapters/:digest', putAdapter)
  .put('/tenants/:id/aliases/:alias', putAlias)
  .delete('/tenants/:id/aliases/:alias', deleteAlias)

export const app = new Hono<App>()
  .use(requestContext)
  .use(
    '/v1/*',
    cors({
      origin: '*',
      allowHeaders: ['*', 'authorization'],
      exposeHeaders: exposedHeaders,
      maxAge: 86_400,
    }),
  )
  .get('/health', (c) => c.json({ status: 'ok' }))
  .route('/v1', tenantApi)
  .route('/admin/v1', adminApi)
  .notFound((c) => {
    throw new QuartetError('not_found', `nothing is at ${c.req.method} ${c.req.path}`)
  })
  .onError(errorResponse)

function methodNotAllowed(): never {
  throw new QuartetError('method_not_allowed', 'this path does not know the method')
}
