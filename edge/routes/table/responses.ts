import {
  DeletedResponse,
  InputItemList,
  InputItemsQuery,
  ResponseEvent,
  ResponseObject,
  ResponsesRequest,
} from '../../../shared/api/responses.ts'
import { pathSchemas } from '../../http/path-schemas.ts'
import { json } from '../../openapi/operation.ts'
import { createResponse } from '../responses.ts'
import { deleteResponse, getResponse, listInputItems } from '../stored-responses.ts'
import { generating, generationHeaders } from './generation.ts'
import { generationRoute, type Route } from './route.ts'

const parameters = { response: pathSchemas.response }

export const responsesRoutes: readonly Route[] = [
  generationRoute({
    method: 'post',
    path: '/v1/responses',
    id: 'createResponse',
    handle: createResponse,
    tag: 'Generation',
    summary: 'Answer an input, and keep the conversation',
    description:
      'With `stream`, server-sent events in order, named by their `type` and numbered by `sequence_number`; the last is `[DONE]`. A failure after the first token is one last event `response.failed` and no `[DONE]`.',
    idempotency: 'generation',
    request: ResponsesRequest,
    effective: ['store'],
    answer: {
      status: 200,
      description: 'The response, whole or as events.',
      content: { 'application/json': ResponseObject, 'text/event-stream': ResponseEvent },
      headers: generationHeaders,
    },
    errors: [...generating, 'not_found', 'control_unavailable'],
  }),
  {
    method: 'get',
    path: '/v1/responses/{response}',
    id: 'getResponse',
    handle: getResponse,
    tag: 'Generation',
    summary: 'Show a stored response',
    auth: 'tenant',
    scopes: ['inference', 'read-only'],
    parameters,
    answer: json('The response.', ResponseObject),
    errors: ['not_found', 'control_unavailable'],
  },
  {
    method: 'delete',
    path: '/v1/responses/{response}',
    id: 'deleteResponse',
    handle: deleteResponse,
    tag: 'Generation',
    summary: 'Delete a stored response',
    auth: 'tenant',
    scopes: ['inference'],
    parameters,
    answer: json('What was deleted.', DeletedResponse),
    errors: ['not_found', 'control_unavailable'],
  },
  {
    method: 'get',
    path: '/v1/responses/{response}/input_items',
    id: 'listInputItems',
    handle: listInputItems,
    tag: 'Generation',
    summary: 'List what was put into a stored response',
    auth: 'tenant',
    scopes: ['inference', 'read-only'],
    parameters,
    query: InputItemsQuery,
    answer: json('The items.', InputItemList),
    errors: ['not_found', 'control_unavailable'],
  },
]
