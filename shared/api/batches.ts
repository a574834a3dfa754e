import { z } from 'zod'
import { FileId } from './files.ts'
import { Page, pageQuery } from './paging.ts'

/** `/v1/batches`, as OpenAI has it. Times are seconds since 1970. */

export const BatchId = z
  .string()
  .regex(/^batch_[0-9a-f]{24}$/, 'a batch id is batch_ and 24 hex digits')
  .brand('BatchId')
export type BatchId = z.infer<typeof BatchId>

export const BatchEndpoint = z.enum(['/v1/chat/completions', '/v1/completions'], {
  error: 'must be /v1/chat/completions or /v1/completions',
})

/** One line of a batch's input file. */
export const BatchLine = z.object({
  custom_id: z.string('is missing').min(1).max(512),
  method: z.literal('POST', { error: 'must be POST' }),
  url: BatchEndpoint,
  body: z.record(z.string(), z.unknown(), { error: 'is missing: the request’s JSON object' }),
})
export type BatchLine = z.infer<typeof BatchLine>

export const BatchStatus = z.enum([
  'validating',
  'in_progress',
  'finalizing',
  'completed',
  'failed',
  'cancelling',
  'cancelled',
  'expired',
])

/** `POST /v1/batches`. */
export const CreateBatchRequest = z.strictObject({
  input_file_id: FileId,
  endpoint: BatchEndpoint,
  completion_window: z.literal('24h', { error: 'must be 24h' }),
  metadata: z.record(z.string().max(64), z.string().max(512)).nullish(),
})

export const Batch = z.object({
  id: BatchId,
  object: z.literal('batch'),
  endpoint: BatchEndpoint,
  input_file_id: FileId,
  output_file_id: FileId.nullable(),
  error_file_id: FileId.nullable(),
  completion_window: z.literal('24h'),
  status: BatchStatus,
  created_at: z.int(),
  in_progress_at: z.int().nullable(),
  completed_at: z.int().nullable(),
  failed_at: z.int().nullable(),
  cancelled_at: z.int().nullable(),
  expires_at: z.int(),
  request_counts: z.object({ total: z.int(), completed: z.int(), failed: z.int() }),
  metadata: z.record(z.string(), z.string()).nullable(),
})
export type Batch = z.infer<typeof Batch>

export const BatchListQuery = z.strictObject(pageQuery({ usual: 20, most: 100 }))
export const BatchList = Page(Batch)
