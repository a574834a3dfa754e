import type { Context } from 'hono'
import { Batch, BatchId, BatchList, BatchListQuery, CreateBatchRequest } from '../../shared/api/batches.ts'
import { toPage } from '../../shared/api/paging.ts'
import { parseRequest } from '../../shared/api/parse.ts'
import { QuartetError } from '../../shared/errors.ts'
import { type BatchRecord, batchOf } from '../batches/batch-table.ts'
import { unwrap } from '../directory/outcome.ts'
import { readJson } from '../http/json-body.ts'
import { parseQuery, pathParameter } from '../http/request-parts.ts'
import type { ControlApp, TenantApp } from '../request-context.ts'

type C = Context<TenantApp & ControlApp>

const batchesOf = (c: C) => c.get('platform').batches(c.get('tenant'), c.get('tenantRecord').createdAt)
const shown = (c: C, batch: BatchRecord) => c.json(Batch.parse(batchOf(batch)))

/** `POST /v1/batches`: the file's requests, run when nobody else waits. */
export async function createBatch(c: C): Promise<Response> {
  const {
    endpoint,
    input_file_id: inputFile,
    metadata = null,
  } = parseRequest(CreateBatchRequest, await readJson(c.req.raw))
  const tenant = c.get('tenant')
  const file = await c.get('platform').training(tenant).file(inputFile)
  if (file === undefined)
    throw new QuartetError('not_found', `input_file_id: this tenant has no file ${inputFile}`, {
      param: 'input_file_id',
    })
  if (file.purpose !== 'batch')
    throw new QuartetError(
      'invalid_request',
      `input_file_id: ${inputFile} was uploaded for ${file.purpose}; upload it with the purpose batch`,
      { param: 'input_file_id' },
    )
  const id = BatchId.parse(`batch_${crypto.randomUUID().replaceAll('-', '').slice(0, 24)}`)
  c.get('auditTarget').batch = id
  const spec = { inputFile, endpoint, metadata, key: c.get('keyId') }
  return shown(
    c,
    unwrap(await batchesOf(c).create(id, { tenant, createdAt: c.get('tenantRecord').createdAt, spec })),
  )
}

/** `GET /v1/batches`, newest first. */
export async function listBatches(c: C): Promise<Response> {
  const { after, limit } = parseQuery(BatchListQuery, c)
  const behind = after === undefined ? undefined : BatchId.safeParse(after)
  if (behind?.success === false)
    throw new QuartetError('invalid_request', 'after: must be the id of a batch', { param: 'after' })
  const batches = await batchesOf(c).list({ after: behind?.data, limit: limit + 1 })
  return c.json(BatchList.parse(toPage(batches.map(batchOf), { limit, id: ({ id }) => id })))
}

/** `GET /v1/batches/{batch}`. */
export async function getBatch(c: C): Promise<Response> {
  const id = pathParameter(c, 'batch')
  const batch = await batchesOf(c).find(id)
  if (batch === undefined) throw new QuartetError('not_found', `this tenant has no batch ${id}`)
  return shown(c, batch)
}

/** `POST /v1/batches/{batch}/cancel`: requests that were answered by then are in its files. */
export async function cancelBatch(c: C): Promise<Response> {
  return shown(c, unwrap(await batchesOf(c).cancel(pathParameter(c, 'batch'))))
}
