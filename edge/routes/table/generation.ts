import { ChatCompletion, ChatCompletionRequest } from '../../../shared/api/chat-completions.ts'
import { Completion, CompletionRequest } from '../../../shared/api/completions.ts'
import { EmbeddingList, EmbeddingsRequest } from '../../../shared/api/embeddings.ts'
import { Model, ModelList, ModelListQuery } from '../../../shared/api/models.ts'
import { everyScope } from '../../../shared/api/scopes.ts'
import type { ErrorCode } from '../../../shared/errors.ts'
import { pathSchemas } from '../../http/path-schemas.ts'
import { type AnswerHeader, json } from '../../openapi/operation.ts'
import { ChatCompletionEvent, CompletionEvent } from '../../openapi/schemas.ts'
import { chatCompletions } from '../chat-completions.ts'
import { completions } from '../completions.ts'
import { embeddings } from '../embeddings.ts'
import { getModel, listModels } from '../models.ts'
import { generationRoute, type Route } from './route.ts'

export const generating = [
  'model_not_found',
  'model_not_allowed',
  'context_length_exceeded',
  'exceeds_limit',
  'grammar_invalid',
  'queue_full',
  'budget_exhausted',
  'client_closed_request',
  'node_error',
  'node_unavailable',
  'deadline_exceeded',
] as const satisfies readonly ErrorCode[]

export const generationHeaders = [
  'x-quartet-adapter',
  'x-quartet-node',
  'x-quartet-retries',
  'x-quartet-ignored',
  'x-quartet-fleet',
  'server-timing',
] as const satisfies readonly AnswerHeader[]

const streamed =
  'With `stream`, server-sent events: each `data:` is one chunk, the last is `[DONE]`. A failure after the first token is one last event with an `error` and no `[DONE]`.'

export const generationRoutes: readonly Route[] = [
  generationRoute({
    method: 'post',
    path: '/v1/chat/completions',
    id: 'createChatCompletion',
    handle: chatCompletions,
    tag: 'Generation',
    summary: 'Answer a conversation',
    description: streamed,
    idempotency: 'generation',
    request: ChatCompletionRequest,
    answer: {
      status: 200,
      description: 'The answer, whole or as events.',
      content: { 'application/json': ChatCompletion, 'text/event-stream': ChatCompletionEvent },
      headers: generationHeaders,
    },
    errors: generating,
  }),
  generationRoute({
    method: 'post',
    path: '/v1/completions',
    id: 'createCompletion',
    handle: completions,
    tag: 'Generation',
    summary: 'Continue a text',
    description: streamed,
    idempotency: 'generation',
    request: CompletionRequest,
    answer: {
      status: 200,
      description: 'The continuation, whole or as events.',
      content: { 'application/json': Completion, 'text/event-stream': CompletionEvent },
      headers: generationHeaders,
    },
    errors: generating,
  }),
  generationRoute({
    method: 'post',
    path: '/v1/embeddings',
    id: 'createEmbeddings',
    handle: embeddings,
    tag: 'Generation',
    summary: 'Turn texts into vectors',
    description:
      'The mean of the last hidden states of the text’s tokens, scaled to length 1: of the untuned model, or behind the prompt rows of an adapter.',
    idempotency: 'generation',
    request: EmbeddingsRequest,
    answer: { ...json('A vector for each text, in order.', EmbeddingList), headers: generationHeaders },
    errors: generating.filter((code) => code !== 'grammar_invalid'),
  }),
  {
    method: 'get',
    path: '/v1/models',
    id: 'listModels',
    handle: listModels,
    tag: 'Models',
    summary: 'List what may be asked for: aliases, then backbones',
    auth: 'tenant',
    scopes: everyScope,
    query: ModelListQuery,
    answer: json('The models.', ModelList),
  },
  {
    method: 'get',
    path: '/v1/models/{model}',
    id: 'getModel',
    handle: getModel,
    tag: 'Models',
    summary: 'Show a model',
    auth: 'tenant',
    scopes: everyScope,
    parameters: { model: pathSchemas.model },
    answer: json('The model.', Model),
    errors: ['model_not_found', 'model_not_allowed'],
  },
]
