import type { z } from 'zod'
import {
  AdapterList,
  AdapterListQuery,
  AdapterSummary,
  AliasDetail,
  AliasList,
  AliasListQuery,
  AliasSummary,
  CanaryEndRequest,
  CanaryReport,
  DeleteAliasRequest,
  History,
  HistoryQuery,
  maxPastAliases,
  PublishQuery,
  PublishResponse,
  PutAliasRequest,
  PutCanaryRequest,
  PutShadowRequest,
  RollbackRequest,
  ShadowEndRequest,
} from '../../../shared/api/deployments.ts'
import {
  DeletedShadowAnswers,
  maxShadowAnswers,
  ShadowAnswerList,
  ShadowAnswersQuery,
} from '../../../shared/api/shadows.ts'
import type { ErrorCode } from '../../../shared/errors.ts'
import { AdapterDigest, AliasName, TenantId } from '../../../shared/ids.ts'
import { maxAdapterBytes } from '../../../shared/wire.ts'
import { json, noContent } from '../../openapi/operation.ts'
import { deleteAdapter, getAdapter, listAdapters, postAdapter, publication, putAdapter } from '../adapters.ts'
import {
  abortCanary,
  deleteAlias,
  getAlias,
  getCanary,
  getHistory,
  listAliases,
  promoteCanary,
  putAlias,
  putCanary,
  rollBackAlias,
} from '../aliases.ts'
import { deleteShadowAnswers, endShadow, listShadowAnswers, putShadow } from '../shadows.ts'
import type { Route } from './route.ts'

/** Where one tenant's adapters and aliases are: the same routes for its own keys and for operators. */
interface Side {
  readonly prefix: string
  readonly auth: 'tenant' | 'admin'
  readonly parameters: Readonly<Record<string, z.ZodType>>
  /** Keeps operation ids apart. */
  readonly suffix: string
}

const file = `A safetensors file: \`shared/adapter-file.ts\` has the format, at most ${maxAdapterBytes / 1024 ** 2} MiB. Its length must be announced (Content-Length).`
const refused = [
  'adapter_invalid',
  'digest_mismatch',
  'backbone_mismatch',
  'adapter_storage_exceeded',
  'exceeds_limit',
  'queue_full',
  'control_unavailable',
] as const satisfies readonly ErrorCode[]
const moving = [
  'not_found',
  'conflict',
  'exceeds_limit',
  'control_unavailable',
] as const satisfies readonly ErrorCode[]

function deployments({ auth, parameters, prefix, suffix }: Side): readonly Route[] {
  const at = { tag: 'Adapters' } as const
  const look = auth === 'tenant' ? { ...at, auth, scopes: ['deploy', 'read-only'] as const } : { ...at, auth }
  const act = auth === 'tenant' ? { ...at, auth, scopes: ['deploy'] as const } : { ...at, auth }
  const own: Pick<Route, 'parameters'> = Object.keys(parameters).length === 0 ? {} : { parameters }
  const adapter = { ...parameters, digest: AdapterDigest }
  const alias = { ...parameters, alias: AliasName }
  // An operator may name a tenant that there is not.
  const errors: readonly ErrorCode[] =
    auth === 'admin' ? ['not_found', 'control_unavailable'] : ['control_unavailable']
  return [
    {
      ...look,
      ...own,
      method: 'get',
      path: `${prefix}/adapters`,
      id: `listAdapters${suffix}`,
      handle: listAdapters,
      summary: 'List adapters, oldest first',
      query: AdapterListQuery,
      answer: json('A page of adapters.', AdapterList),
      errors,
    },
    {
      ...act,
      ...own,
      method: 'post',
      path: `${prefix}/adapters`,
      id: `publishAdapter${suffix}`,
      handle: postAdapter,
      audit: { action: 'adapter.publish', asked: publication },
      summary: 'Publish an adapter, and deploy it with `alias`',
      description:
        'It needs no Idempotency-Key: the same file again is the same adapter, and an alias that names it already stays as it is.',
      query: PublishQuery,
      body: { bytes: file },
      answer: json('It is kept under its digest.', PublishResponse, 201),
      errors: [...refused, ...moving],
    },
    {
      ...look,
      method: 'get',
      path: `${prefix}/adapters/{digest}`,
      id: `getAdapter${suffix}`,
      handle: getAdapter,
      summary: 'Show an adapter',
      parameters: adapter,
      answer: json('The adapter.', AdapterSummary),
      errors: ['not_found', 'control_unavailable'],
    },
    {
      ...act,
      method: 'put',
      path: `${prefix}/adapters/{digest}`,
      id: `putAdapter${suffix}`,
      handle: putAdapter,
      audit: 'adapter.publish',
      summary: 'Publish an adapter whose digest is known',
      parameters: adapter,
      body: { bytes: file },
      answer: json('It is kept.', AdapterSummary),
      errors: [...refused, ...errors],
    },
    {
      ...act,
      method: 'delete',
      path: `${prefix}/adapters/{digest}`,
      id: `deleteAdapter${suffix}`,
      handle: deleteAdapter,
      audit: 'adapter.delete',
      summary: 'Delete an adapter that no alias holds',
      parameters: adapter,
      answer: noContent('It is gone.'),
      errors: ['not_found', 'adapter_in_use', 'conflict', 'control_unavailable'],
    },
    {
      ...look,
      ...own,
      method: 'get',
      path: `${prefix}/aliases`,
      id: `listAliases${suffix}`,
      handle: listAliases,
      summary: 'List aliases, by name',
      query: AliasListQuery,
      answer: json('A page of aliases.', AliasList),
      errors,
    },
    {
      ...look,
      method: 'get',
      path: `${prefix}/aliases/{alias}`,
      id: `getAlias${suffix}`,
      handle: getAlias,
      summary: 'Show an alias',
      parameters: alias,
      answer: json('The alias.', AliasDetail),
      errors: ['not_found', 'control_unavailable'],
    },
    {
      ...act,
      method: 'put',
      path: `${prefix}/aliases/{alias}`,
      id: `deployAlias${suffix}`,
      handle: putAlias,
      audit: 'alias.deploy',
      summary: 'Deploy an adapter under an alias',
      parameters: alias,
      body: { json: PutAliasRequest },
      answer: json('The alias from now on.', AliasSummary),
      errors: [...moving, 'grammar_invalid'],
    },
    {
      ...act,
      method: 'delete',
      path: `${prefix}/aliases/{alias}`,
      id: `deleteAlias${suffix}`,
      handle: deleteAlias,
      audit: 'alias.delete',
      summary: 'Delete an alias',
      description: `Its history stays: those of the ${maxPastAliases} aliases that a tenant deleted last are kept.`,
      parameters: alias,
      body: { json: DeleteAliasRequest, optional: true },
      answer: noContent('It is gone.'),
      errors: moving,
    },
    {
      ...look,
      method: 'get',
      path: `${prefix}/aliases/{alias}/history`,
      id: `getAliasHistory${suffix}`,
      handle: getHistory,
      summary: 'List what an alias has named, newest first',
      parameters: alias,
      query: HistoryQuery,
      answer: json('A page of deployments.', History),
      errors: ['not_found', 'control_unavailable'],
    },
    {
      ...act,
      method: 'post',
      path: `${prefix}/aliases/{alias}/rollback`,
      id: `rollBackAlias${suffix}`,
      handle: rollBackAlias,
      audit: 'alias.rollback',
      summary: 'Roll an alias back: to the version before, or to the one named',
      parameters: alias,
      idempotency: 'action',
      body: { json: RollbackRequest, optional: true },
      answer: json('The alias from now on.', AliasSummary),
      errors: moving,
    },
    {
      ...look,
      method: 'get',
      path: `${prefix}/aliases/{alias}/canary`,
      id: `getCanary${suffix}`,
      handle: getCanary,
      summary: 'Show a canary, and what each side has answered since it began',
      parameters: alias,
      answer: json('The canary, with counts of both sides.', CanaryReport),
      errors: ['not_found', 'control_unavailable'],
    },
    {
      ...act,
      method: 'put',
      path: `${prefix}/aliases/{alias}/canary`,
      id: `putCanary${suffix}`,
      handle: putCanary,
      audit: 'alias.canary',
      summary: 'Begin a canary, or change its share',
      parameters: alias,
      body: { json: PutCanaryRequest },
      answer: json('The alias from now on.', AliasSummary),
      errors: moving,
    },
    {
      ...act,
      method: 'delete',
      path: `${prefix}/aliases/{alias}/canary`,
      id: `abortCanary${suffix}`,
      handle: abortCanary,
      audit: 'alias.abort',
      summary: 'End a canary: nothing goes to it any more',
      parameters: alias,
      body: { json: CanaryEndRequest, optional: true },
      answer: json('The alias from now on.', AliasSummary),
      errors: moving,
    },
    {
      ...act,
      method: 'post',
      path: `${prefix}/aliases/{alias}/promote`,
      id: `promoteCanary${suffix}`,
      handle: promoteCanary,
      audit: 'alias.promote',
      summary: 'Promote a canary: everything goes to it',
      parameters: alias,
      idempotency: 'action',
      body: { json: CanaryEndRequest, optional: true },
      answer: json('The alias from now on.', AliasSummary),
      errors: moving,
    },
    {
      ...act,
      method: 'put',
      path: `${prefix}/aliases/{alias}/shadow`,
      id: `putShadow${suffix}`,
      handle: putShadow,
      audit: 'alias.shadow',
      summary: 'Begin a shadow, or change its share',
      description:
        "A late adapter answers a share of the alias's requests too, once the client has its answer. What it answers is kept for you and shown to no client. It needs tokens of the policy's `shadowTokensPerDay`.",
      parameters: alias,
      body: { json: PutShadowRequest },
      answer: json('The alias from now on.', AliasSummary),
      errors: moving,
    },
    {
      ...act,
      method: 'delete',
      path: `${prefix}/aliases/{alias}/shadow`,
      id: `endShadow${suffix}`,
      handle: endShadow,
      audit: 'alias.unshadow',
      summary: 'End a shadow; what it answered stays',
      parameters: alias,
      body: { json: ShadowEndRequest, optional: true },
      answer: json('The alias from now on.', AliasSummary),
      errors: moving,
    },
    {
      ...look,
      method: 'get',
      path: `${prefix}/aliases/{alias}/shadow/answers`,
      id: `listShadowAnswers${suffix}`,
      handle: listShadowAnswers,
      summary: 'List what shadows of an alias answered, newest first',
      description: `Beside each stands what the client got. A tenant's newest ${maxShadowAnswers} are kept, for 30 days.`,
      parameters: alias,
      query: ShadowAnswersQuery,
      answer: json('A page of answers.', ShadowAnswerList),
      errors: ['not_found', 'control_unavailable'],
    },
    {
      ...act,
      method: 'delete',
      path: `${prefix}/aliases/{alias}/shadow/answers`,
      id: `deleteShadowAnswers${suffix}`,
      handle: deleteShadowAnswers,
      audit: 'shadow.clear',
      summary: 'Delete what shadows of an alias answered',
      parameters: alias,
      answer: json('How many there were.', DeletedShadowAnswers),
      errors: ['not_found', 'control_unavailable'],
    },
  ]
}

export const deploymentRoutes: readonly Route[] = [
  ...deployments({ prefix: '/v1', auth: 'tenant', parameters: {}, suffix: '' }),
  ...deployments({
    prefix: '/admin/v1/tenants/{id}',
    auth: 'admin',
    parameters: { id: TenantId },
    suffix: 'OfTenant',
  }),
]
