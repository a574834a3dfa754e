import {
  CountTokensRequest,
  MessageEvent,
  MessageObject,
  MessagesRequest,
  MessagesTokenCount,
} from '../../../shared/api/messages.ts'
import { json } from '../../openapi/operation.ts'
import { countTokens, createMessage } from '../messages.ts'
import { generating, generationHeaders } from './generation.ts'
import { generationRoute, type Route } from './route.ts'

export const messagesRoutes: readonly Route[] = [
  generationRoute({
    method: 'post',
    path: '/v1/messages',
    id: 'createMessage',
    handle: createMessage,
    tag: 'Generation',
    summary: 'Answer a conversation, in the form of Anthropic',
    description:
      'With `stream`, server-sent events named by their `type`; the last is `message_stop`. A failure after the first token is one last event `error`. The key may also come as `x-api-key`.',
    idempotency: 'generation',
    request: MessagesRequest,
    answer: {
      status: 200,
      description: 'The message, whole or as events.',
      content: { 'application/json': MessageObject, 'text/event-stream': MessageEvent },
      headers: generationHeaders,
    },
    errors: generating,
  }),
  generationRoute({
    method: 'post',
    path: '/v1/messages/count_tokens',
    id: 'countTokens',
    handle: countTokens,
    tag: 'Generation',
    summary: 'Count the tokens of a conversation',
    request: CountTokensRequest,
    answer: {
      ...json('The count.', MessagesTokenCount),
      headers: ['x-quartet-ignored'],
    },
    errors: ['model_not_found', 'model_not_allowed', 'context_length_exceeded', 'budget_exhausted'],
  }),
]
