import { z } from 'zod'
import { BackboneSlug } from '../ids.ts'
import { Page, pageQuery } from './paging.ts'

/** `/v1/files`, as OpenAI has it. Times are seconds since 1970. */

export const FileId = z
  .string()
  .regex(/^file-[0-9a-f]{24}$/, 'a file id is file- and 24 hex digits')
  .brand('FileId')
export type FileId = z.infer<typeof FileId>

export const FilePurpose = z.enum(['fine-tune', 'batch'], {
  error: 'must be fine-tune or batch; files for other purposes are not supported',
})
export type FilePurpose = z.infer<typeof FilePurpose>

/** The purpose of a stored file. It may also be a file that a batch wrote. */
export const StoredPurpose = z.enum([...FilePurpose.options, 'batch_output'], {
  error: 'must be fine-tune, batch or batch_output',
})
export type StoredPurpose = z.infer<typeof StoredPurpose>

/** Bytes of one file. */
export const maxFileBytes = 512 * 1024 * 1024
/** Bytes of one line of a file. */
export const maxLineBytes = 1024 * 1024

/** The estimate of a training: the tokens and the time it takes, and its result. */
export const TrainingEstimate = z.object({
  /** Examples that are trained on; the others are set apart to measure on. */
  examples: z.int(),
  steps: z.int(),
  /** Tokens that all steps together read. */
  trained_tokens: z.int(),
  /** From the moment that a trainer takes the job. */
  seconds: z.int(),
  /** Where `seconds` comes from: the speed of the last job on this backbone, or the backbone's size on two CPU cores. */
  seconds_from: z.enum(['trainers', 'assumption']),
  adapter_bytes: z.int(),
})
export type TrainingEstimate = z.infer<typeof TrainingEstimate>

/** A file of examples as the tokenizer and the template of one backbone read it. */
export const TokenCount = z.object({
  backbone: BackboneSlug,
  /** Answers to learn. A conversation holds one or several. */
  examples: z.int(),
  /** Tokens of all examples: of each the whole prompt and the answer. */
  tokens: z.int(),
  /** False where the file is so large that only its beginning was counted. The rest then counts by its length. */
  is_exact: z.boolean(),
  /** The first line that this backbone cannot be trained on, and why; null without one. */
  problem: z.string().nullable(),
  /** A job with `auto` for each hyperparameter; null where nothing can be trained on. */
  estimate: TrainingEstimate.nullable(),
})
export type TokenCount = z.infer<typeof TokenCount>

export const FileObject = z.object({
  id: FileId,
  object: z.literal('file'),
  bytes: z.int(),
  created_at: z.int(),
  filename: z.string(),
  purpose: StoredPurpose,
  /** OpenAI's; a file that is listed has been checked. */
  status: z.literal('processed'),
  /** Lines that hold something. */
  lines: z.int(),
  /** One for each backbone; only of the purpose fine-tune. */
  token_counts: z.array(TokenCount).optional(),
})
export type FileObject = z.infer<typeof FileObject>

/** `GET /v1/files`: newest first. */
export const FileListQuery = z.strictObject({
  ...pageQuery({ usual: 100, most: 1_000 }),
  purpose: StoredPurpose.optional(),
})
export const FileList = Page(FileObject)

export const FileDeleted = z.object({ id: FileId, object: z.literal('file'), deleted: z.literal(true) })
