import { everyScope } from '../../../shared/api/scopes.ts'
import {
  DetokenizeAnswer,
  DetokenizeRequest,
  TokenizeAnswer,
  TokenizeRequest,
  TokenizerInfo,
  TokenizerInfoQuery,
} from '../../../shared/api/tokenize.ts'
import { json } from '../../openapi/operation.ts'
import { detokenize, tokenize, tokenizerInfo } from '../tokenize.ts'
import { generationRoute, type Route } from './route.ts'

const errors = [
  'model_not_found',
  'model_not_allowed',
  'context_length_exceeded',
  'budget_exhausted',
] as const

export const tokenizeRoutes: readonly Route[] = [
  generationRoute({
    method: 'post',
    path: '/tokenize',
    id: 'tokenize',
    handle: tokenize,
    tag: 'Generation',
    summary: 'Tell the tokens of a prompt or a conversation, as vLLM has it',
    request: TokenizeRequest,
    answer: { ...json('The tokens.', TokenizeAnswer), headers: ['x-quartet-ignored'] },
    errors,
  }),
  generationRoute({
    method: 'post',
    path: '/detokenize',
    id: 'detokenize',
    handle: detokenize,
    tag: 'Generation',
    summary: 'Tell the text of tokens, as vLLM has it',
    request: DetokenizeRequest,
    answer: { ...json('The text.', DetokenizeAnswer), headers: ['x-quartet-ignored'] },
    errors,
  }),
  {
    method: 'get',
    path: '/tokenizer_info',
    id: 'getTokenizerInfo',
    handle: tokenizerInfo,
    tag: 'Generation',
    summary: 'Show the chat template and the special tokens, as vLLM has it',
    auth: 'tenant',
    scopes: everyScope,
    query: TokenizerInfoQuery,
    answer: json('The tokenizer.', TokenizerInfo),
    errors: ['model_not_found', 'model_not_allowed'],
  },
]
