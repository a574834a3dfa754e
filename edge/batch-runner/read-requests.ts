import { type BatchErrors, type BatchId, BatchLine, maxBatchLines } from '../../shared/api/batches.ts'
import type { BatchBook, BatchRequest } from '../batches/batch-book.ts'
import type { BatchRecord } from '../batches/batch-table.ts'
import { linesOf } from '../files/lines.ts'

const maxErrors = 100
const keptAtOnce = 200

type LineError = BatchErrors['data'][number]

/** Reads a batch's file into the book, and says what keeps it from being run. */
export async function readRequests(
  { endpoint, id }: BatchRecord,
  { body, book }: { readonly body: AsyncIterable<Uint8Array>; readonly book: BatchBook },
): Promise<LineError[]> {
  book.beginRequests(id)
  const errors: LineError[] = []
  let read: BatchRequest[] = []
  let count = 0
  const keep = () => {
    errors.push(...keepRequests(id, { book, read }))
    read = []
  }
  for await (const { at, bytes, line, text } of linesOf(body)) {
    const { custom_id: customId, url } = BatchLine.parse(JSON.parse(text))
    if (++count > maxBatchLines)
      return [
        {
          code: 'too_many_requests',
          message: `a batch has at most ${maxBatchLines} requests; split the file`,
          param: 'input_file_id',
          line: null,
        },
      ]
    if (url !== endpoint)
      errors.push({
        code: 'mismatched_endpoint',
        message: `url: is ${url}, and the batch is for ${endpoint}; a batch has one endpoint`,
        param: 'url',
        line,
      })
    read.push({ line, customId, at, bytes })
    if (read.length >= keptAtOnce) keep()
    if (errors.length >= maxErrors) break
  }
  keep()
  return errors.slice(0, maxErrors)
}

const keepRequests = (
  id: BatchId,
  { book, read }: { readonly book: BatchBook; readonly read: readonly BatchRequest[] },
): LineError[] =>
  book.addRequests(id, read).map(({ customId, line }) => ({
    code: 'duplicate_custom_id',
    message: `custom_id: ${customId.slice(0, 64)} stands on an earlier line as well; each request needs its own`,
    param: 'custom_id',
    line,
  }))
