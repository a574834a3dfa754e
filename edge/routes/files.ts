import type { Context } from 'hono'
import {
  FileDeleted,
  FileId,
  FileList,
  FileListQuery,
  type FileObject,
  maxFileBytes,
} from '../../shared/api/files.ts'
import { toPage } from '../../shared/api/paging.ts'
import { QuartetError } from '../../shared/errors.ts'
import { readablePurposes, requirePurpose } from '../auth/scopes.ts'
import { unwrap } from '../directory/outcome.ts'
import { boundaryOf } from '../files/multipart.ts'
import { receiveFile } from '../files/receive-file.ts'
import { requirePlainBody } from '../http/json-body.ts'
import { backgroundOf, readerOf } from '../http/reader.ts'
import { parseQuery, pathParameter } from '../http/request-parts.ts'
import { maxDroppedBytes } from '../http/unread-body.ts'
import { within } from '../http/within.ts'
import type { TenantApp } from '../request-context.ts'
import { fileKey } from '../store/bucket-keys.ts'
import { writerBytes } from '../store/file-writer.ts'
import { arrivingChunks } from '../uploads/arriving-chunks.ts'
import { UploadProgress } from '../uploads/upload-memory.ts'
import { openTokenCounts, withEstimates } from './training-estimates.ts'

type C = Context<TenantApp>

/** A file that the bucket does not remove in this time stays; no record names it. */
const removeMs = 5_000
/** Boundaries and headers of a form around a file. */
const formBytes = 64 * 1024

/** `POST /v1/files`: a form with `purpose` and `file`, checked line by line while it arrives. */
export async function createFile(c: C): Promise<Response> {
  const { files: bucket, training, uploadMemory } = c.get('platform')
  const tenant = c.get('tenant')
  const { body, headers } = c.req.raw
  requirePlainBody(c.req.raw)
  const boundary = boundaryOf(headers.get('content-type') ?? null)
  const announced = headers.get('content-length')
  if (Number(announced ?? 0) > maxFileBytes + formBytes) throw tooLarge()
  if (body === null)
    throw new QuartetError('invalid_request', 'the body is empty; send a form with purpose and file')
  const progress = new UploadProgress(Number(announced ?? maxFileBytes))
  using _memory = uploadMemory.take(tenant, writerBytes, progress)
  const records = training(tenant)
  const id = newFileId()
  // Clients that stream a file do not know the form's length: they get what room there is.
  const wanted = announced === null ? null : Number(announced)
  const { createdAt: tenancy, policy } = c.get('tenantRecord')
  const maxBytes = unwrap(await records.beginFile(id, { wanted, limit: policy.fileBytes, tenancy }))
  const key = fileKey(tenant, id)
  const arriving = arrivingChunks(body, progress)
  const receiving = receiveFile({
    id,
    body: unclosed(arriving),
    boundary,
    bucket,
    key,
    maxBytes,
    checkPurpose: (purpose) => requirePurpose(c.get('scopes'), { purpose, isRead: false }),
    openCounts: () => openTokenCounts(readerOf(c)),
  })
    .then(async ({ counts, file }) => {
      const counted: FileObject =
        counts === undefined ? file : { ...file, token_counts: await withEstimates(counts, readerOf(c)) }
      unwrap(await records.completeFile(counted, tenancy))
      return counted
    })
    .catch(async (thrown: unknown) => {
      await within(removeMs, { work: bucket.delete([key]).catch(() => undefined), late: () => undefined })
      // Where it cannot be told now, the room comes back by itself (fine-tuning/file-table.ts).
      await records.abandonFile(id).catch(() => undefined)
      await drop(arriving)
      throw thrown
    })
    .finally(() => arriving.return())
  // The room is given back when the client is gone, too.
  backgroundOf(c)(receiving.catch(() => undefined))
  return c.json((await receiving) satisfies FileObject)
}

/** The same bytes; a reader that stops early does not cancel them. */
const unclosed = (arriving: AsyncGenerator<Uint8Array, void>): AsyncIterable<Uint8Array> => ({
  [Symbol.asyncIterator]: () => ({ next: () => arriving.next() }),
})

const tooLarge = () =>
  new QuartetError('body_too_large', `a file has at most ${maxFileBytes} bytes; split it`, { param: 'file' })

async function drop(arriving: AsyncGenerator<Uint8Array, void>): Promise<void> {
  for (let dropped = 0; dropped < maxDroppedBytes; ) {
    const next = await arriving.next().catch(() => undefined)
    if (next === undefined || next.done === true) return
    dropped += next.value.length
  }
}

const newFileId = (): FileId => FileId.parse(`file-${crypto.randomUUID().replaceAll('-', '').slice(0, 24)}`)

/** `GET /v1/files`, newest first. */
export async function listFiles(c: C): Promise<Response> {
  const { after, limit, purpose } = parseQuery(FileListQuery, c)
  const behind = after === undefined ? undefined : FileId.safeParse(after)
  if (behind?.success === false)
    throw new QuartetError('invalid_request', 'after: must be the id of a file', { param: 'after' })
  const purposes = readablePurposes(c.get('scopes')).filter(
    (each) => purpose === undefined || each === purpose,
  )
  const files = await c
    .get('platform')
    .training(c.get('tenant'))
    .listFiles({ after: behind?.data, limit: limit + 1, purposes })
  return c.json(FileList.parse(toPage(files, { limit, id: ({ id }) => id })))
}

/** The file that the path names, if the key may look at it, or without `isRead` change it. */
async function requireFile(c: C, { isRead }: { readonly isRead: boolean }): Promise<FileObject> {
  const id = pathParameter(c, 'file')
  const file = await c.get('platform').training(c.get('tenant')).file(id)
  if (file === undefined) throw new QuartetError('not_found', `this tenant has no file ${id}`)
  requirePurpose(c.get('scopes'), { purpose: file.purpose, isRead })
  return file
}

/** `GET /v1/files/{file}`. */
export async function getFile(c: C): Promise<Response> {
  return c.json((await requireFile(c, { isRead: true })) satisfies FileObject)
}

/** `GET /v1/files/{file}/content`. */
export async function getFileContent(c: C): Promise<Response> {
  const file = await requireFile(c, { isRead: true })
  const stored = await c.get('platform').files.read(fileKey(c.get('tenant'), file.id))
  if (stored === undefined) throw new QuartetError('not_found', `the content of ${file.id} is gone`)
  return c.body(stored, 200, {
    'content-type': 'application/jsonl',
    'content-disposition': `attachment; filename="${file.filename.replaceAll(/[^\x20-\x7e]|["\\]/g, '_')}"`,
    'x-content-type-options': 'nosniff',
  })
}

/** `DELETE /v1/files/{file}`. A file that a job reads stays. */
export async function deleteFile(c: C): Promise<Response> {
  const { files, training } = c.get('platform')
  const tenant = c.get('tenant')
  const { id, purpose } = await requireFile(c, { isRead: false })
  const reader =
    purpose === 'batch'
      ? await c.get('platform').batches(tenant, c.get('tenantRecord').createdAt).readerOf(id)
      : undefined
  if (reader !== undefined)
    throw new QuartetError(
      'conflict',
      `the batch ${reader} reads this file; cancel the batch or wait for its end`,
    )
  unwrap(await training(tenant).removeFile(id))
  await files.delete([fileKey(tenant, id)])
  return c.json(FileDeleted.parse({ id, object: 'file', deleted: true }))
}
