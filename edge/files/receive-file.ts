import { type FileId, type FileObject, FilePurpose, maxFileBytes } from '../../shared/api/files.ts'
import { QuartetError } from '../../shared/errors.ts'
import type { FileBucket } from '../store/file-bucket.ts'
import { giveTurn } from '../uploads/in-turns.ts'
import { LineChecks } from './line-checks.ts'
import { type FormPart, readForm } from './multipart.ts'
import type { Counted, TokenCounts } from './token-counts.ts'

const maxFieldBytes = 1_024

export interface FileArrival {
  readonly id: FileId
  readonly body: AsyncIterable<Uint8Array>
  readonly boundary: string
  readonly bucket: Pick<FileBucket, 'writer'>
  readonly key: string
  /** The bytes that the tenant has room for. */
  readonly maxBytes: number
  /** Throws where the client may send no file of this purpose. */
  readonly checkPurpose: (purpose: FilePurpose) => void
  /** Counts the tokens of examples. */
  readonly openCounts: () => Promise<TokenCounts>
}

/** A file that has arrived, with the tokens of its examples where it holds some. */
export interface ReceivedFile {
  readonly file: Omit<FileObject, 'token_counts'>
  readonly counts: readonly Counted[] | undefined
}

/**
 * Reads `purpose` and `file` of a form as they arrive, checks each line, and writes the file to the bucket in parts.
 * Nothing stays in the bucket when it throws: `invalid_request`, `training_data_invalid`, `body_too_large`.
 */
export async function receiveFile({
  body,
  boundary,
  bucket,
  checkPurpose,
  id,
  key,
  maxBytes,
  openCounts,
}: FileArrival): Promise<ReceivedFile> {
  let purpose: FilePurpose | undefined
  let file: StoredFile | undefined
  for await (const part of readForm(body, boundary)) {
    if (part.name === 'purpose') {
      if (purpose !== undefined) throw wrong('purpose', 'stands twice; a file has one purpose')
      const parsed = FilePurpose.safeParse(await fieldText(part))
      if (!parsed.success) throw wrong('purpose', parsed.error.issues[0]?.message ?? 'is wrong')
      purpose = parsed.data
      checkPurpose(purpose)
    } else if (part.name === 'file') {
      if (file !== undefined) throw wrong('file', 'stands twice; send one file a request')
      // Many clients send the file first.
      const purposes = purpose === undefined ? FilePurpose.options : [purpose]
      const counts = purposes.includes('fine-tune') ? await openCounts() : undefined
      file = await storeFile(part, { bucket, key, maxBytes, purposes, counts })
    } else
      throw wrong(
        part.name.slice(0, 64),
        'is not supported; a form has purpose and file, and a file stays until it is deleted',
      )
  }
  if (purpose === undefined || file === undefined) {
    const missing = purpose === undefined ? 'purpose' : 'file'
    throw wrong(missing, `is missing: send a form with purpose and file`)
  }
  const { bytes, checks, counts, filename } = file
  return {
    file: {
      id,
      object: 'file',
      created_at: Math.floor(Date.now() / 1_000),
      purpose,
      status: 'processed',
      bytes,
      filename,
      lines: checks.linesFor(purpose),
    },
    counts: purpose === 'fine-tune' ? counts : undefined,
  }
}

interface StoredFile extends Pick<FileObject, 'bytes' | 'filename'>, Pick<ReceivedFile, 'counts'> {
  readonly checks: LineChecks
}

const tooLong = (maxBytes: number) =>
  maxBytes < maxFileBytes
    ? new QuartetError(
        'file_storage_exceeded',
        `the tenant's files have room for ${maxBytes} bytes more; delete some, or ask the operator for more`,
        { param: 'file' },
      )
    : new QuartetError('body_too_large', `a file has at most ${maxFileBytes} bytes; split it`, {
        param: 'file',
      })

const wrong = (param: string, message: string) =>
  new QuartetError('invalid_request', `${param}: ${message}`, { param })

async function fieldText({ bytes, name }: FormPart): Promise<string> {
  const decoder = new TextDecoder()
  let text = ''
  for await (const chunk of bytes) {
    text += decoder.decode(chunk, { stream: true })
    if (text.length > maxFieldBytes) throw wrong(name, 'is too long')
  }
  return text + decoder.decode()
}

async function storeFile(
  { bytes, filename }: FormPart,
  {
    bucket,
    counts,
    key,
    maxBytes,
    purposes,
  }: Pick<FileArrival, 'bucket' | 'key' | 'maxBytes'> & {
    /** Those that the file may have, as far as the form has said. */
    readonly purposes: readonly FilePurpose[]
    readonly counts: TokenCounts | undefined
  },
): Promise<StoredFile> {
  const checks = new LineChecks(purposes, (line) => counts?.add(line))
  const writer = bucket.writer(key)
  let length = 0
  try {
    for await (const chunk of bytes) {
      length += chunk.length
      if (length > Math.min(maxBytes, maxFileBytes)) throw tooLong(maxBytes)
      checks.push(chunk)
      // It will be refused, with the reason that its purpose gives it.
      if (checks.isWrong) continue
      await writer.push(chunk)
      await counts?.count(giveTurn)
    }
    checks.end()
    await counts?.count(giveTurn)
    if (checks.isWrong) await writer.abandon()
    else await writer.end()
  } catch (thrown) {
    await writer.abandon()
    throw thrown
  }
  return {
    bytes: length,
    filename: (filename ?? 'file.jsonl').slice(0, 256),
    checks,
    counts: counts?.result,
  }
}
