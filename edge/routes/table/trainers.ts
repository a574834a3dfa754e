import { z } from 'zod'
import { AdapterSummary } from '../../../shared/api/deployments.ts'
import { JobId } from '../../../shared/api/fine-tuning.ts'
import { TenantId } from '../../../shared/ids.ts'
import {
  ClaimRequest,
  ClaimResponse,
  TrainerOrder,
  TrainerReport,
} from '../../../shared/training/trainer-protocol.ts'
import { json, noContent } from '../../openapi/operation.ts'
import {
  claimWork,
  getCheckpoint,
  putCheckpoint,
  putTrainedAdapter,
  reportWork,
  workAdapter,
  workFile,
} from '../training-work.ts'
import type { Route } from './route.ts'

const prefix = '/fleet/v1/training'
const ofJob = {
  tag: 'Fleet',
  auth: 'node',
  parameters: { id: TenantId, job: JobId },
  headers: {
    'x-quartet-fence': {
      schema: z.string(),
      description: 'The fence of the lease, as the claim answered it.',
    },
  },
} as const

const bytes = (description: string, type = 'application/octet-stream') =>
  ({ status: 200, description, content: { [type]: z.string() } }) as const

/** The routes that trainers call. Each call is signed with the secret that trainers share with the edge. */
export const trainerRoutes: readonly Route[] = [
  {
    method: 'post',
    path: `${prefix}/claim`,
    id: 'claimTraining',
    handle: claimWork,
    tag: 'Fleet',
    summary: 'A trainer asks for work',
    auth: 'node',
    body: { json: ClaimRequest },
    answer: json('The next job, if there is one.', ClaimResponse),
    errors: ['control_unavailable'],
  },
  {
    ...ofJob,
    method: 'post',
    path: `${prefix}/{id}/{job}/report`,
    id: 'reportTraining',
    handle: reportWork,
    summary: 'A trainer tells how its job goes',
    body: { json: TrainerReport },
    answer: json('How to go on.', TrainerOrder),
    errors: ['not_found', 'conflict', 'control_unavailable'],
  },
  {
    ...ofJob,
    method: 'get',
    path: `${prefix}/{id}/{job}/training-file`,
    id: 'readTrainingFile',
    handle: workFile('trainingFile'),
    summary: 'A trainer reads the examples',
    answer: bytes('The file.', 'application/jsonl'),
    errors: ['not_found', 'conflict', 'control_unavailable'],
  },
  {
    ...ofJob,
    method: 'get',
    path: `${prefix}/{id}/{job}/validation-file`,
    id: 'readValidationFile',
    handle: workFile('validationFile'),
    summary: 'A trainer reads the examples to measure on',
    answer: bytes('The file.', 'application/jsonl'),
    errors: ['not_found', 'conflict', 'control_unavailable'],
  },
  {
    ...ofJob,
    method: 'get',
    path: `${prefix}/{id}/{job}/adapter`,
    id: 'readStartAdapter',
    handle: workAdapter,
    summary: 'A trainer reads the adapter to go on from',
    answer: bytes('The adapter.'),
    errors: ['not_found', 'conflict', 'control_unavailable'],
  },
  {
    ...ofJob,
    method: 'put',
    path: `${prefix}/{id}/{job}/adapter`,
    id: 'putTrainedAdapter',
    handle: putTrainedAdapter,
    summary: 'A trainer brings the trained adapter',
    body: { bytes: 'The adapter file.' },
    answer: json('The adapter, now one of the tenant’s.', AdapterSummary),
    errors: [
      'not_found',
      'conflict',
      'adapter_invalid',
      'backbone_mismatch',
      'adapter_storage_exceeded',
      'control_unavailable',
    ],
  },
  {
    ...ofJob,
    method: 'get',
    path: `${prefix}/{id}/{job}/checkpoint`,
    id: 'readCheckpoint',
    handle: getCheckpoint,
    summary: 'A trainer reads the last checkpoint',
    answer: bytes('The checkpoint.'),
    errors: ['not_found', 'conflict', 'control_unavailable'],
  },
  {
    ...ofJob,
    method: 'put',
    path: `${prefix}/{id}/{job}/checkpoint`,
    id: 'putCheckpoint',
    handle: putCheckpoint,
    summary: 'A trainer keeps a checkpoint',
    query: z.strictObject({ step: z.string(), valid_loss: z.string().optional() }),
    body: { bytes: 'The checkpoint.' },
    answer: noContent('It is kept; the one before it is gone.'),
    errors: ['not_found', 'conflict', 'body_too_large', 'control_unavailable'],
  },
]
