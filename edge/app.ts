import { Hono } from 'hono'
import { cors } from 'hono/cors'
import { allowedMethods } from '../shared/allowed-methods.ts'
import { ChatCompletionRequest } from '../shared/api/chat-completions.ts'
import { CompletionRequest } from '../shared/api/completions.ts'
import { MessagesRequest } from '../shared/api/messages.ts'
import { ResponsesRequest } from '../shared/api/responses.ts'
import { QuartetError } from '../shared/errors.ts'
import { audited } from './audit/audited.ts'
import { authenticateAdmin } from './auth/admin.ts'
import { authenticate } from './auth/authenticate.ts'
import { refuseOverLimits } from './budgets/admit.ts'
import { rateLimitHeaderNames, rateLimits } from './budgets/rate-limit-headers.ts'
import { errorResponse } from './http/error-response.ts'
import { idempotent } from './http/idempotency.ts'
import { idempotentGeneration } from './http/idempotent-generation.ts'
import { requestContext } from './http/open-request.ts'
import { platformOf } from './platform.ts'
import type { AdminApp, App, ControlApp, TenantApp } from './request-context.ts'
import {
  deleteAdapter,
  getAdapter,
  listAdapters,
  postAdapter,
  publication,
  putAdapter,
} from './routes/adapters.ts'
import { getAudit } from './routes/admin-audit.ts'
import { getBackbones, putBackbone } from './routes/admin-backbones.ts'
import { getFleet } from './routes/admin-fleet.ts'
import {
  changeKey,
  changeTenant,
  createKey,
  createTenant,
  deleteTenant,
  getTenant,
  listTenants,
  revokeKey,
  tenantOfPath,
} from './routes/admin-tenants.ts'
import {
  abortCanary,
  deleteAlias,
  getAlias,
  getHistory,
  listAliases,
  promoteCanary,
  putAlias,
  putCanary,
  rollBackAlias,
} from './routes/aliases.ts'
import { chatCompletions } from './routes/chat-completions.ts'
import { completions } from './routes/completions.ts'
import { consoleFiles } from './routes/console.ts'
import { createFile, deleteFile, getFile, getFileContent, listFiles } from './routes/files.ts'
import {
  cancelJob,
  createJob,
  getJob,
  listCheckpoints,
  listEvents,
  listJobs,
  pauseJob,
  resumeJob,
} from './routes/fine-tuning.ts'
import { heartbeat } from './routes/fleet-heartbeat.ts'
import { countTokens, createMessage } from './routes/messages.ts'
import { getModel, listModels } from './routes/models.ts'
import { getOpenApi, getReference } from './routes/reference.ts'
import { createResponse } from './routes/responses.ts'
import { deleteResponse, getResponse, listInputItems } from './routes/stored-responses.ts'
import {
  claimWork,
  getCheckpoint,
  putCheckpoint,
  putTrainedAdapter,
  reportWork,
  workAdapter,
  workFile,
} from './routes/training-work.ts'
import { getAllUsage, getBudget, getUsage } from './routes/usage.ts'

const exposedHeaders = [
  'x-request-id',
  'traceparent',
  'x-quartet-adapter',
  'x-quartet-node',
  'x-quartet-retries',
  'x-quartet-fleet',
  'x-quartet-next-after',
  'idempotency-replayed',
  'server-timing',
  'retry-after',
  ...rateLimitHeaderNames,
]

/** One tenant's adapters and aliases: at `/v1` for its own keys, at `/admin/v1/tenants/{id}` for operators. */
const deploymentsApi = new Hono<ControlApp>()
  .get('/adapters', listAdapters)
  .post('/adapters', audited('adapter.publish', publication), postAdapter)
  .get('/adapters/:digest', getAdapter)
  .put('/adapters/:digest', audited('adapter.publish'), putAdapter)
  .delete('/adapters/:digest', audited('adapter.delete'), deleteAdapter)
  .get('/aliases', listAliases)
  .get('/aliases/:alias', getAlias)
  .put('/aliases/:alias', audited('alias.deploy'), putAlias)
  .delete('/aliases/:alias', audited('alias.delete'), deleteAlias)
  .get('/aliases/:alias/history', getHistory)
  .post('/aliases/:alias/rollback', idempotent, audited('alias.rollback'), rollBackAlias)
  .put('/aliases/:alias/canary', audited('alias.canary'), putCanary)
  .delete('/aliases/:alias/canary', audited('alias.abort'), abortCanary)
  .post('/aliases/:alias/promote', idempotent, audited('alias.promote'), promoteCanary)

/** A tenant's files and fine-tuning jobs, as OpenAI has them. */
const fineTuningApi = new Hono<ControlApp & TenantApp>()
  .get('/files', listFiles)
  .post('/files', audited('file.create'), createFile)
  .get('/files/:file', getFile)
  .get('/files/:file/content', getFileContent)
  .delete('/files/:file', audited('file.delete'), deleteFile)
  .get('/fine_tuning/jobs', listJobs)
  .post('/fine_tuning/jobs', idempotent, audited('job.create'), createJob)
  .get('/fine_tuning/jobs/:job', getJob)
  .post('/fine_tuning/jobs/:job/cancel', audited('job.cancel'), cancelJob)
  .post('/fine_tuning/jobs/:job/pause', audited('job.pause'), pauseJob)
  .post('/fine_tuning/jobs/:job/resume', audited('job.resume'), resumeJob)
  .get('/fine_tuning/jobs/:job/events', listEvents)
  .get('/fine_tuning/jobs/:job/checkpoints', listCheckpoints)

/** What trainers use; each call is signed. */
const trainersApi = new Hono<App>()
  .post('/claim', claimWork)
  .get('/:id/:job/training-file', workFile('trainingFile'))
  .get('/:id/:job/validation-file', workFile('validationFile'))
  .get('/:id/:job/adapter', workAdapter)
  .put('/:id/:job/adapter', putTrainedAdapter)
  .get('/:id/:job/checkpoint', getCheckpoint)
  .put('/:id/:job/checkpoint', putCheckpoint)
  .post('/:id/:job/report', reportWork)

/** What tenants use; every path needs a key, so that nothing is told to anyone else. */
const tenantApi = new Hono<TenantApp>()
  .use(authenticate)
  .use(rateLimits)
  .post('/chat/completions', idempotentGeneration(ChatCompletionRequest), refuseOverLimits, chatCompletions)
  .post('/completions', idempotentGeneration(CompletionRequest), refuseOverLimits, completions)
  .post('/responses', idempotentGeneration(ResponsesRequest), refuseOverLimits, createResponse)
  .get('/responses/:response', getResponse)
  .delete('/responses/:response', deleteResponse)
  .get('/responses/:response/input_items', listInputItems)
  .post('/messages', idempotentGeneration(MessagesRequest), refuseOverLimits, createMessage)
  .post('/messages/count_tokens', refuseOverLimits, countTokens)
  .get('/models', listModels)
  .get('/models/:model', getModel)
  .get('/usage', getUsage)
  .route('/', fineTuningApi)
  .route('/', deploymentsApi)

const tenantAdminApi = new Hono<ControlApp>()
  .use(tenantOfPath)
  .get('/', getTenant)
  .get('/budget', getBudget)
  .patch('/', audited('tenant.change'), changeTenant)
  .delete('/', audited('tenant.delete'), deleteTenant)
  .post('/keys', idempotent, audited('key.create'), createKey)
  .patch('/keys/:keyId', audited('key.change'), changeKey)
  .delete('/keys/:keyId', audited('key.revoke'), revokeKey)
  .route('/', deploymentsApi)

/** What operators use. */
const adminApi = new Hono<AdminApp>()
  .use(authenticateAdmin)
  .get('/backbones', getBackbones)
  .put('/backbones/:slug', audited('backbone.put'), putBackbone)
  .get('/audit', getAudit)
  .get('/fleet', getFleet)
  .get('/usage', getAllUsage)
  .get('/tenants', listTenants)
  .post('/tenants', idempotent, audited('tenant.create'), createTenant)
  .route('/tenants/:id', tenantAdminApi)

export const app = new Hono<App>()
  .use(requestContext(platformOf))
  .use(
    '/v1/*',
    cors({
      origin: '*',
      allowHeaders: ['*', 'authorization'],
      exposeHeaders: exposedHeaders,
      maxAge: 86_400,
    }),
  )
  .use('/console/*', consoleFiles)
  .get('/', (c) => c.json({ docs: '/docs', openapi: '/openapi.json', api: '/v1' }))
  .get('/health', (c) => c.json({ status: 'ok' }))
  .get('/openapi.json', getOpenApi)
  .get('/docs', getReference)
  .route('/v1', tenantApi)
  .route('/admin/v1', adminApi)
  .post('/fleet/v1/heartbeat', heartbeat)
  .route('/fleet/v1/training', trainersApi)
  // Returned, not thrown: what is thrown here passes by the outermost middleware.
  .notFound((c) =>
    errorResponse(new QuartetError('not_found', `nothing is at ${c.req.method} ${c.req.path}`), c),
  )
  .onError(errorResponse)

for (const [path, allow] of allowedMethods(app.routes))
  app.all(path, ({ req }) => {
    throw new QuartetError(
      'method_not_allowed',
      `${req.path} answers ${allow.join(', ')}, not ${req.method}`,
      { allow },
    )
  })
