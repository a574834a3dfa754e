import { z } from 'zod'
import {
  FileDeleted,
  FileId,
  FileList,
  FileListQuery,
  FileObject,
  maxFileBytes,
} from '../../../shared/api/files.ts'
import {
  CreateJobRequest,
  Job,
  JobCheckpointList,
  JobEvent,
  JobEventList,
  JobEventQuery,
  JobId,
  JobList,
  JobListQuery,
} from '../../../shared/api/fine-tuning.ts'
import { json } from '../../openapi/operation.ts'
import { createFile, deleteFile, getFile, getFileContent, listFiles } from '../files.ts'
import {
  cancelJob,
  createJob,
  getJob,
  listCheckpoints,
  listEvents,
  listJobs,
  pauseJob,
  resumeJob,
} from '../fine-tuning.ts'
import type { Route } from './route.ts'

const form = `A form (multipart/form-data) with \`purpose\` (fine-tune or batch) and \`file\`, a JSONL file of at most ${maxFileBytes / 1024 ** 2} MiB. Each line is checked while the file arrives; the first one at fault is named.`

const own = { tag: 'Fine-tuning', auth: 'tenant' } as const
const ofFile = { ...own, parameters: { file: FileId } }
const ofJob = { ...own, parameters: { job: JobId } }
/** The handler decides by the file's purpose which of them a key may use. */
const files = ['train', 'inference'] as const
const readFiles = [...files, 'read-only'] as const

export const fineTuningRoutes: readonly Route[] = [
  {
    ...own,
    method: 'post',
    path: '/v1/files',
    id: 'createFile',
    scopes: files,
    handle: createFile,
    audit: 'file.create',
    summary: 'Upload a file of examples or of requests',
    body: { bytes: form },
    answer: json('The file.', FileObject),
    errors: [
      'training_data_invalid',
      'file_storage_exceeded',
      'queue_full',
      'control_unavailable',
      'request_timeout',
    ],
  },
  {
    ...own,
    method: 'get',
    path: '/v1/files',
    id: 'listFiles',
    scopes: readFiles,
    handle: listFiles,
    summary: 'List files, newest first',
    query: FileListQuery,
    answer: json('The files.', FileList),
    errors: ['control_unavailable'],
  },
  {
    ...ofFile,
    method: 'get',
    path: '/v1/files/{file}',
    id: 'getFile',
    scopes: readFiles,
    handle: getFile,
    summary: 'Show a file',
    answer: json('The file.', FileObject),
    errors: ['not_found', 'control_unavailable'],
  },
  {
    ...ofFile,
    method: 'get',
    path: '/v1/files/{file}/content',
    id: 'getFileContent',
    scopes: readFiles,
    handle: getFileContent,
    summary: 'Read a file',
    answer: {
      status: 200,
      description: 'The bytes that were uploaded.',
      content: { 'application/jsonl': z.string() },
      headers: ['content-disposition'],
    },
    errors: ['not_found', 'control_unavailable'],
  },
  {
    ...ofFile,
    method: 'delete',
    path: '/v1/files/{file}',
    id: 'deleteFile',
    scopes: files,
    handle: deleteFile,
    audit: 'file.delete',
    summary: 'Delete a file that no job reads',
    answer: json('It is gone.', FileDeleted),
    errors: ['not_found', 'conflict', 'control_unavailable'],
  },
  {
    ...own,
    method: 'post',
    path: '/v1/fine_tuning/jobs',
    id: 'createFineTuningJob',
    scopes: ['train'],
    handle: createJob,
    audit: 'job.create',
    summary: 'Train an adapter from a file',
    idempotency: 'action',
    body: { json: CreateJobRequest },
    answer: json('The job, queued.', Job),
    errors: [
      'model_not_found',
      'model_not_allowed',
      'training_data_invalid',
      'not_found',
      'conflict',
      'control_unavailable',
    ],
  },
  {
    ...own,
    method: 'get',
    path: '/v1/fine_tuning/jobs',
    id: 'listFineTuningJobs',
    scopes: ['train', 'read-only'],
    handle: listJobs,
    summary: 'List jobs, newest first',
    query: JobListQuery,
    answer: json('The jobs.', JobList),
    errors: ['control_unavailable'],
  },
  {
    ...ofJob,
    method: 'get',
    path: '/v1/fine_tuning/jobs/{job}',
    id: 'getFineTuningJob',
    scopes: ['train', 'read-only'],
    handle: getJob,
    summary: 'Show a job',
    answer: json('The job.', Job),
    errors: ['not_found', 'control_unavailable'],
  },
  ...(
    [
      ['cancel', cancelJob, 'End a job'],
      ['pause', pauseJob, 'Stop a job, to be gone on with'],
      ['resume', resumeJob, 'Go on with a paused job, from its last checkpoint'],
    ] as const
  ).map(
    ([action, handle, summary]): Route => ({
      ...ofJob,
      method: 'post',
      path: `/v1/fine_tuning/jobs/{job}/${action}`,
      id: `${action}FineTuningJob`,
      scopes: ['train'],
      handle,
      audit: `job.${action}`,
      summary,
      answer: json('The job.', Job),
      errors: ['not_found', 'conflict', 'control_unavailable'],
    }),
  ),
  {
    ...ofJob,
    method: 'get',
    path: '/v1/fine_tuning/jobs/{job}/events',
    id: 'listFineTuningEvents',
    scopes: ['train', 'read-only'],
    handle: listEvents,
    summary: 'What happened to a job',
    description:
      'Newest first. With `stream=true` server-sent events, oldest first, until the job has ended.',
    query: JobEventQuery,
    answer: {
      status: 200,
      description: 'The events.',
      content: { 'application/json': JobEventList, 'text/event-stream': JobEvent },
    },
    errors: ['not_found', 'control_unavailable'],
  },
  {
    ...ofJob,
    method: 'get',
    path: '/v1/fine_tuning/jobs/{job}/checkpoints',
    id: 'listFineTuningCheckpoints',
    scopes: ['train', 'read-only'],
    handle: listCheckpoints,
    summary: 'The checkpoints of a job, latest first',
    query: JobListQuery,
    answer: json('The checkpoints.', JobCheckpointList),
    errors: ['not_found', 'control_unavailable'],
  },
]
