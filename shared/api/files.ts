import { z } from 'zod'
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
})
export type FileObject = z.infer<typeof FileObject>

/** `GET /v1/files`: newest first. */
export const FileListQuery = z.strictObject({
  ...pageQuery({ usual: 100, most: 1_000 }),
  purpose: StoredPurpose.optional(),
})
export const FileList = Page(FileObject)

export const FileDeleted = z.object({ id: FileId, object: z.literal('file'), deleted: z.literal(true) })
