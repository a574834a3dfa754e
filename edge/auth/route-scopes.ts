import { StoredPurpose } from '../../shared/api/files.ts'
import type { Scope, Scopes } from '../../shared/api/scopes.ts'
import { QuartetError } from '../../shared/errors.ts'

const every = ['inference', 'deploy', 'train', 'read-only'] as const satisfies readonly Scope[]
const ask = ['inference'] as const
const readAnswers = ['inference', 'read-only'] as const
const deploy = ['deploy'] as const
const readDeployments = ['deploy', 'read-only'] as const
const train = ['train'] as const
const readJobs = ['train', 'read-only'] as const
/** The route decides which of the files a key may use: `purposeScopes`. */
const files = ['train', 'inference'] as const
const readFiles = ['train', 'inference', 'read-only'] as const

/** The scopes that open each route to a key that has any of them. A route that is not here opens to unscoped keys alone. */
export const routeScopes: Readonly<Record<string, readonly Scope[]>> = {
  'POST /v1/chat/completions': ask,
  'POST /v1/completions': ask,
  'POST /v1/responses': ask,
  'GET /v1/responses/:response': readAnswers,
  'DELETE /v1/responses/:response': ask,
  'GET /v1/responses/:response/input_items': readAnswers,
  'POST /v1/messages': ask,
  'POST /v1/embeddings': ask,
  'POST /v1/messages/count_tokens': ask,
  'POST /tokenize': ask,
  'POST /detokenize': ask,
  'GET /v1/models': every,
  'GET /v1/models/:model': every,
  'GET /v1/usage': every,
  'GET /v1/budget': every,
  'GET /v1/files': readFiles,
  'POST /v1/files': files,
  'GET /v1/files/:file': readFiles,
  'GET /v1/files/:file/content': readFiles,
  'DELETE /v1/files/:file': files,
  'GET /v1/batches': readAnswers,
  'POST /v1/batches': ask,
  'GET /v1/batches/:batch': readAnswers,
  'POST /v1/batches/:batch/cancel': ask,
  'GET /v1/fine_tuning/jobs': readJobs,
  'POST /v1/fine_tuning/jobs': train,
  'GET /v1/fine_tuning/jobs/:job': readJobs,
  'POST /v1/fine_tuning/jobs/:job/cancel': train,
  'POST /v1/fine_tuning/jobs/:job/pause': train,
  'POST /v1/fine_tuning/jobs/:job/resume': train,
  'GET /v1/fine_tuning/jobs/:job/events': readJobs,
  'GET /v1/fine_tuning/jobs/:job/checkpoints': readJobs,
  'GET /v1/adapters': readDeployments,
  'POST /v1/adapters': deploy,
  'GET /v1/adapters/:digest': readDeployments,
  'PUT /v1/adapters/:digest': deploy,
  'DELETE /v1/adapters/:digest': deploy,
  'GET /v1/aliases': readDeployments,
  'GET /v1/aliases/:alias': readDeployments,
  'PUT /v1/aliases/:alias': deploy,
  'DELETE /v1/aliases/:alias': deploy,
  'GET /v1/aliases/:alias/history': readDeployments,
  'POST /v1/aliases/:alias/rollback': deploy,
  'PUT /v1/aliases/:alias/canary': deploy,
  'DELETE /v1/aliases/:alias/canary': deploy,
  'POST /v1/aliases/:alias/promote': deploy,
}

/** The scope that a file's purpose wants. */
const purposeScopes: Readonly<Record<StoredPurpose, Scope>> = {
  'fine-tune': 'train',
  batch: 'inference',
  batch_output: 'inference',
}

/** Throws `missing_scope` unless a key of these scopes has one of the `wanted`. */
export function requireScope(
  scopes: Scopes,
  { wanted, what }: { readonly wanted: readonly Scope[]; readonly what: string },
): void {
  if (scopes === null || wanted.some((scope) => scopes.includes(scope))) return
  const names = wanted.length === 0 ? 'a key without scopes' : `the scope ${wanted.join(' or ')}`
  throw new QuartetError(
    'missing_scope',
    `${what} needs ${names}; this key has only ${scopes.join(', ')}: use another key, or ask the operator to change this one's scopes`,
  )
}

/** Throws `missing_scope` unless the key may change files of this purpose, or with `isRead` look at them. */
export function requirePurpose(
  scopes: Scopes,
  { isRead, purpose }: { readonly purpose: StoredPurpose; readonly isRead: boolean },
): void {
  requireScope(scopes, {
    wanted: [purposeScopes[purpose], ...(isRead ? (['read-only'] as const) : [])],
    what: `a file of the purpose ${purpose}`,
  })
}

/** The purposes of the files that a key may look at. */
export const readablePurposes = (scopes: Scopes): readonly StoredPurpose[] =>
  StoredPurpose.options.filter(
    (purpose) => scopes === null || scopes.includes('read-only') || scopes.includes(purposeScopes[purpose]),
  )
