import { Batch, BatchId, BatchList, BatchListQuery, CreateBatchRequest } from '../../../shared/api/batches.ts'
import { json } from '../../openapi/operation.ts'
import { cancelBatch, createBatch, getBatch, listBatches } from '../batches.ts'
import type { Route } from './route.ts'

const batches = { tag: 'Batches', auth: 'tenant' } as const
const ofBatch = { ...batches, parameters: { batch: BatchId } }

export const batchRoutes: readonly Route[] = [
  {
    ...batches,
    method: 'post',
    path: '/v1/batches',
    id: 'createBatch',
    scopes: ['inference'],
    handle: createBatch,
    audit: 'batch.create',
    idempotency: 'action',
    summary: 'Run a file of requests within a day, at low priority and by the policy’s share of a token',
    body: { json: CreateBatchRequest },
    answer: json('The batch, being validated.', Batch),
    errors: ['not_found', 'conflict', 'control_unavailable'],
  },
  {
    ...batches,
    method: 'get',
    path: '/v1/batches',
    id: 'listBatches',
    scopes: ['inference', 'read-only'],
    handle: listBatches,
    summary: 'List batches, newest first',
    query: BatchListQuery,
    answer: json('The batches.', BatchList),
    errors: ['control_unavailable'],
  },
  {
    ...ofBatch,
    method: 'get',
    path: '/v1/batches/{batch}',
    id: 'getBatch',
    scopes: ['inference', 'read-only'],
    handle: getBatch,
    summary: 'Show a batch',
    answer: json('The batch.', Batch),
    errors: ['not_found', 'control_unavailable'],
  },
  {
    ...ofBatch,
    method: 'post',
    path: '/v1/batches/{batch}/cancel',
    id: 'cancelBatch',
    scopes: ['inference'],
    handle: cancelBatch,
    audit: 'batch.cancel',
    summary: 'End a batch; what was answered by then is in its files',
    answer: json('The batch.', Batch),
    errors: ['not_found', 'conflict', 'control_unavailable'],
  },
]
