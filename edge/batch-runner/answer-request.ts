import { type Context, Hono } from 'hono'
import { createMiddleware } from 'hono/factory'
import type { BatchEndpoint } from '../../shared/api/batches.ts'
import { ChatCompletionRequest } from '../../shared/api/chat-completions.ts'
import { CompletionRequest } from '../../shared/api/completions.ts'
import { EmbeddingsRequest } from '../../shared/api/embeddings.ts'
import { ResponsesRequest } from '../../shared/api/responses.ts'
import type { KeyId, RequestId } from '../../shared/ids.ts'
import { errorResponse } from '../http/error-response.ts'
import { generationBody, handleGeneration } from '../http/generation-request.ts'
import { requestContext } from '../http/open-request.ts'
import type { Bindings, Platform } from '../platform.ts'
import type { App, TenantApp } from '../request-context.ts'
import { chatCompletions } from '../routes/chat-completions.ts'
import { completions } from '../routes/completions.ts'
import { embeddings } from '../routes/embeddings.ts'
import { createResponse } from '../routes/responses.ts'
import type { TenantRecord } from '../store/records.ts'

/** The handlers of the endpoints that a batch may name. */
const endpoints: Readonly<Record<BatchEndpoint, (c: Context<TenantApp>) => Promise<Response>>> = {
  '/v1/chat/completions': handleGeneration({
    readBody: generationBody(ChatCompletionRequest),
    handle: chatCompletions,
  }),
  '/v1/completions': handleGeneration({ readBody: generationBody(CompletionRequest), handle: completions }),
  '/v1/embeddings': handleGeneration({ readBody: generationBody(EmbeddingsRequest), handle: embeddings }),
  '/v1/responses': handleGeneration({
    readBody: generationBody(ResponsesRequest),
    effective: ['store'],
    handle: createResponse,
  }),
}

/** Who asks, and where answers are made. */
export interface Asking {
  readonly tenant: TenantRecord
  readonly key: KeyId
  readonly bindings: Bindings
  readonly platform: Platform
  readonly execution: Parameters<Hono['fetch']>[2]
  readonly signal: AbortSignal
}

export interface Answered {
  readonly status: number
  readonly body: unknown
}

/** Answers one request of a batch as its endpoint does, at low priority and by the batch's price. */
export async function answerRequest(
  { body, endpoint, id }: { readonly id: RequestId; readonly endpoint: BatchEndpoint; readonly body: object },
  { bindings, execution, key, platform, signal, tenant }: Asking,
): Promise<Answered> {
  const asBatch = createMiddleware<TenantApp>(async (c, next) => {
    c.set('tenant', tenant.id)
    c.set('tenantRecord', tenant)
    c.set('keyId', key)
    c.set('scopes', null)
    c.set('actor', { kind: 'key', keyId: key })
    c.set('isBatch', true)
    c.get('report').caller = { tenant: tenant.id, keyId: key }
    await next()
  })
  const asked = new Hono<TenantApp>().use(asBatch).post(endpoint, endpoints[endpoint])
  const app = new Hono<App>()
    .use(
      requestContext(
        () => platform,
        () => id,
      ),
    )
    .route('/', asked)
    .onError(errorResponse)
  const request = new Request(`http://batch${endpoint}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
    signal,
  })
  const response = await app.fetch(request, bindings, execution)
  return { status: response.status, body: await response.json() }
}
