import { z } from 'zod'
import type { ErrorCode } from '../../shared/errors.ts'
import { rateLimitHeaders } from '../budgets/rate-limit-headers.ts'
import { IdempotencyKey } from '../http/idempotency-key.ts'

/** One route as the document describes it. Its schemas are those that validate. */
export interface Operation {
  readonly method: 'get' | 'put' | 'post' | 'patch' | 'delete'
  /** The path with its parameters in braces: `/v1/models/{model}`. */
  readonly path: string
  /** `operationId`. */
  readonly id: string
  readonly tag: Tag
  readonly summary: string
  readonly description?: string
  readonly auth: Auth
  /** Schemas of the path's parameters. */
  readonly parameters?: Readonly<Record<string, z.ZodType>>
  readonly query?: z.ZodObject
  readonly headers?: Readonly<Record<string, { readonly schema: z.ZodType; readonly description: string }>>
  readonly body?: Body
  /** An `Idempotency-Key` lets it act, or run and be charged, once, however often it is sent. */
  readonly idempotency?: 'action' | 'generation'
  readonly answer: AnswerDescription
  /** The answer has an etag; a request that sends it back gets an empty 304. */
  readonly revalidates?: true
  /** The errors beyond those that its authentication, its body and its parameters imply. */
  readonly errors?: readonly ErrorCode[]
}

export type Auth = 'tenant' | 'admin' | 'node' | 'none'

export const tags = {
  Generation: 'Text from a tuned or the untuned model, as OpenAI has it.',
  Models: 'The names a tenant may ask for.',
  Adapters: "A tenant's tuned weights, its aliases for them and their deployments.",
  'Fine-tuning': 'Files of examples, and the jobs that train adapters from them, as OpenAI has them.',
  Batches: 'Files of requests that are answered within a day, as OpenAI has them.',
  Usage: 'What was used, by the nodes’ own counts.',
  Tenants: 'Tenants, their policies and their keys.',
  Backbones: 'The language models that are served.',
  Fleet: 'The nodes.',
  Audit: 'Every action that changed something.',
  Service: 'Health and this document.',
} as const
type Tag = keyof typeof tags

type Body = { readonly json: z.ZodType; readonly optional?: true } | { readonly bytes: string }

export interface AnswerDescription {
  readonly status: 200 | 201 | 202 | 204
  readonly description: string
  /** The keys are media types. A stream's schema is that of one event. */
  readonly content?: Readonly<Record<string, z.ZodType>>
  readonly headers?: readonly AnswerHeader[]
}

/** Headers of answers. */
export const answerHeaders = {
  'x-request-id': 'Names the request; say it when something is wrong.',
  traceparent: "The request's place in its trace (W3C Trace Context).",
  'retry-after': 'Seconds after which to try again.',
  'www-authenticate': 'How to send a key.',
  'idempotency-replayed': '`true` on what the first request with this `Idempotency-Key` was answered.',
  'x-quartet-adapter': 'Digest of the adapter that answered, or `none`.',
  'x-quartet-node': 'Ids of the nodes that answered.',
  'x-quartet-retries': 'Attempts that failed before the first token.',
  'x-quartet-ignored': 'Fields of the request that nobody knows or that have no effect here.',
  'x-quartet-fleet':
    'Only while the edge routes by an old snapshot of the nodes: `stale; age=` and its seconds.',
  'server-timing': 'Milliseconds until the first token, by hop.',
  ...rateLimitHeaders,
  etag: 'Changes with the content.',
  'content-disposition': 'Names the file.',
  'x-quartet-next-after': "Of a CSV that is not the last page, the next one's `after`.",
} as const
export type AnswerHeader = keyof typeof answerHeaders

export const everyAnswer = ['x-request-id', 'traceparent'] as const satisfies readonly AnswerHeader[]

/** An answer of one JSON schema. */
export const json = (description: string, schema: z.ZodType, status: 200 | 201 = 200): AnswerDescription => ({
  status,
  description,
  content: { 'application/json': schema },
})

export const noContent = (description: string): AnswerDescription => ({ status: 204, description })

/** An answer with a time to retry after, as far as one is known. */
export const retryable: ReadonlySet<number> = new Set([409, 429, 502, 503, 504])

/** The header that lets a request act once, however often it is sent. */
export const idempotencyKey: NonNullable<Operation['headers']> = {
  'idempotency-key': {
    schema: IdempotencyKey,
    description: 'Whoever repeats the request with the same key within a day gets the first answer.',
  },
}

export const ifNoneMatch: NonNullable<Operation['headers']> = {
  'if-none-match': {
    schema: z.string(),
    description: 'An `etag` of before: nothing is sent when it still holds.',
  },
}
