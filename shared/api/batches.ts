import { z } from 'zod'
import { FileId } from './files.ts'
import { toOneBeyond } from './long-input.ts'
import { Page, pageQuery } from './paging.ts'

/** `/v1/batches`, as OpenAI has it. Times are seconds since 1970. */

export const BatchId = z
  .string()
  .regex(/^batch_[0-9a-f]{24}$/, 'a batch id is batch_ and 24 hex digits')
  .brand('BatchId')
export type BatchId = z.infer<typeof BatchId>

export const BatchEndpoint = z.enum(
  ['/v1/chat/completions', '/v1/completions', '/v1/responses', '/v1/embeddings'],
  { error: 'must be /v1/chat/completions, /v1/completions, /v1/responses or /v1/embeddings' },
)
export type BatchEndpoint = z.infer<typeof BatchEndpoint>

/** One line of a file of requests (purpose `batch`), as OpenAI has it. */
export const BatchLine = z.object({
  custom_id: z.string('is missing').min(1).max(512),
  method: z.literal('POST', { error: 'must be POST' }),
  url: BatchEndpoint,
  body: z.record(z.string(), z.unknown(), { error: 'is missing: the request’s JSON object' }),
})
export type BatchLine = z.infer<typeof BatchLine>

/** Requests of one batch. */
export const maxBatchLines = 50_000

const Metadata = z
  .record(z.string().max(64), z.string().max(512))
  .refine((metadata) => Object.keys(metadata).length <= 16, { error: 'has more than 16 entries' })

/** `POST /v1/batches`. */
export const CreateBatchRequest = z.strictObject({
  input_file_id: FileId,
  endpoint: BatchEndpoint,
  completion_window: z.literal('24h', { error: 'must be 24h' }),
  metadata: toOneBeyond(16, Metadata).nullish(),
})

export const BatchStatus = z.enum([
  'validating',
  'failed',
  'in_progress',
  'finalizing',
  'completed',
  'expired',
  'cancelling',
  'cancelled',
])
export type BatchStatus = z.infer<typeof BatchStatus>

const time = z.int().nullable()

/** When the batch came into each state; null where it was not. */
export const BatchTimes = z.object({
  in_progress_at: time,
  finalizing_at: time,
  completed_at: time,
  failed_at: time,
  expired_at: time,
  cancelling_at: time,
  cancelled_at: time,
})
export type BatchTimes = z.infer<typeof BatchTimes>

/** Why a file cannot be run as a batch, by its lines. */
export const BatchErrors = z.object({
  object: z.literal('list'),
  data: z.array(
    z.object({
      code: z.string(),
      message: z.string(),
      param: z.string().nullable(),
      line: z.int().nullable(),
    }),
  ),
})
export type BatchErrors = z.infer<typeof BatchErrors>

export const Batch = z
  .object({
    id: BatchId,
    object: z.literal('batch'),
    endpoint: BatchEndpoint,
    errors: BatchErrors.nullable(),
    input_file_id: FileId,
    completion_window: z.literal('24h'),
    status: BatchStatus,
    /** Answers, one a line, in the order of their `custom_id`; null where there is none. */
    output_file_id: FileId.nullable(),
    /** Requests that were refused or not made, in the same order. */
    error_file_id: FileId.nullable(),
    created_at: z.int(),
    expires_at: z.int(),
    request_counts: z.object({ total: z.int(), completed: z.int(), failed: z.int() }),
    /** The usage of the requests that were answered. */
    usage: z.object({ input_tokens: z.int(), output_tokens: z.int(), total_tokens: z.int() }),
    metadata: Metadata.nullable(),
  })
  .extend(BatchTimes.shape)
export type Batch = z.infer<typeof Batch>

/** `GET /v1/batches`: newest first. */
export const BatchListQuery = z.strictObject(pageQuery({ usual: 20, most: 100 }))
export const BatchList = Page(Batch)
