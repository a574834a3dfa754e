import type { Context } from 'hono'
import type { z } from 'zod'
import {
  type AliasDetail,
  AliasListQuery,
  type AliasSummary,
  CanaryEndRequest,
  type CanaryReport,
  DeleteAliasRequest,
  HistoryQuery,
  PutAliasRequest,
  PutCanaryRequest,
  RollbackRequest,
} from '../../shared/api/deployments.ts'
import { toPage } from '../../shared/api/paging.ts'
import { parseRequest } from '../../shared/api/parse.ts'
import { type AnswerForm, briefOf } from '../../shared/api/structure.ts'
import { QuartetError } from '../../shared/errors.ts'
import { AliasName, BackboneSlug } from '../../shared/ids.ts'
import type { AuditTarget } from '../audit/audit-target.ts'
import type { MoveRequest } from '../directory/decide-move.ts'
import { unwrap } from '../directory/outcome.ts'
import { actorName } from '../http/actor.ts'
import { maxJsonBytes, readBytes, readJson } from '../http/json-body.ts'
import { readerOf } from '../http/reader.ts'
import { behind, byId, parseQuery, pathParameter } from '../http/request-parts.ts'
import type { ControlApp } from '../request-context.ts'
import type { TenantRecord } from '../store/records.ts'
import { checkForm } from '../structure/grammar.ts'
import { findBackbone, reloadTenant } from '../tenants/read.ts'

type C = Context<ControlApp>

const aliasOf = (c: C) => pathParameter(c, 'alias')

/** Throws `conflict` for an alias whose name is a backbone's: no request would take it. */
export async function requireOwnName(alias: AliasName, c: C): Promise<void> {
  const slug = BackboneSlug.safeParse(alias)
  if (!slug.success) return
  const backbone = await findBackbone(slug.data, { reader: readerOf(c), tenant: c.get('tenant') })
  if (backbone === undefined) return
  throw new QuartetError(
    'conflict',
    `${alias} is the name of a backbone, and requests for it get the untuned model; choose another alias`,
  )
}

const sending: ReadonlySet<MoveRequest['aim']['action']> = new Set([
  'deploy',
  'rollback',
  'canary',
  'promote',
  'shadow',
])

/** Moves an alias of the tenant. Throws `conflict` where it is to send requests somewhere and its name is a backbone's. */
export async function moveAlias(
  c: C,
  request: Omit<MoveRequest, 'by' | 'tenancy'>,
): Promise<AliasSummary | null> {
  if (sending.has(request.aim.action)) await requireOwnName(request.alias, c)
  Object.assign(c.get('auditTarget'), targetOf(request))
  const { directory } = c.get('platform')
  const tenancy = c.get('tenantRecord')?.createdAt
  return unwrap(await directory(c.get('tenant')).move({ ...request, by: actorName(c.get('actor')), tenancy }))
}

const targetOf = ({ aim, alias }: Pick<MoveRequest, 'aim' | 'alias'>): AuditTarget => ({
  alias,
  ...('digest' in aim ? { digest: aim.digest } : {}),
  ...('percent' in aim ? { percent: String(aim.percent) } : {}),
  ...('share' in aim ? { by: aim.share } : {}),
  ...('form' in aim && aim.form !== undefined ? { form: labelOf(aim.form) } : {}),
  ...('version' in aim && aim.version !== undefined ? { version: String(aim.version) } : {}),
})

const labelOf = (form: AnswerForm | null): string => {
  if (form === null) return 'none'
  const { name, type } = briefOf(form)
  return name ?? type
}

/** An empty body asks for nothing special. */
export async function readOptional<S extends z.ZodType>(schema: S, c: C): Promise<z.output<S>> {
  const { length } = await readBytes(c.req.raw.clone(), maxJsonBytes)
  return parseRequest(schema, length === 0 ? {} : await readJson(c.req.raw))
}

/** `PUT …/aliases/{alias}`: deploys an adapter under a name. */
export async function putAlias(c: C): Promise<Response> {
  const alias = aliasOf(c)
  const {
    digest,
    if_version,
    response_format: form,
  } = parseRequest(PutAliasRequest, await readJson(c.req.raw))
  if (form != null) checkForm(form)
  return c.json(await moveAlias(c, { alias, aim: { action: 'deploy', digest, form }, ifVersion: if_version }))
}

/** `POST …/aliases/{alias}/rollback`. */
export async function rollBackAlias(c: C): Promise<Response> {
  const { if_version, version } = await readOptional(RollbackRequest, c)
  return c.json(
    await moveAlias(c, { alias: aliasOf(c), aim: { action: 'rollback', version }, ifVersion: if_version }),
  )
}

/** `PUT …/aliases/{alias}/canary`: begins a canary, or changes its share. */
export async function putCanary(c: C): Promise<Response> {
  const { by, digest, if_version, percent } = parseRequest(PutCanaryRequest, await readJson(c.req.raw))
  const aim = { action: 'canary', digest, percent, share: by } as const
  return c.json(await moveAlias(c, { alias: aliasOf(c), aim, ifVersion: if_version }))
}

/** Entries of an alias's history that are read to find where its canary began. */
const readHistory = 1_000

/** `GET …/aliases/{alias}/canary`: what each side has answered since the canary began. */
export async function getCanary(c: C): Promise<Response> {
  const name = aliasOf(c)
  const { found } = await findAlias(c, ({ canary }) => canary !== null)
  const canary = found?.canary
  if (found === undefined || canary === undefined || canary === null)
    throw new QuartetError('not_found', `the alias ${name} has no canary now`)
  const { budget, directory } = c.get('platform')
  const tenant = c.get('tenant')
  const history = unwrap(await directory(tenant).history(name, { before: undefined, limit: readHistory }))
  const end = history.findIndex((each) => each.canary?.digest !== canary.digest)
  const since = history[end === -1 ? history.length - 1 : end - 1] ?? {
    version: found.version,
    at: found.updatedAt,
  }
  const began = { version: since.version, at: since.at }
  return c.json({
    ...canary,
    since: began,
    ...(await budget(tenant).trials(name, began)),
  } satisfies CanaryReport)
}

/** `POST …/aliases/{alias}/promote`: the canary takes everything. */
export async function promoteCanary(c: C): Promise<Response> {
  const { if_version } = await readOptional(CanaryEndRequest, c)
  return c.json(await moveAlias(c, { alias: aliasOf(c), aim: { action: 'promote' }, ifVersion: if_version }))
}

/** `DELETE …/aliases/{alias}/canary`. */
export async function abortCanary(c: C): Promise<Response> {
  const { if_version } = await readOptional(CanaryEndRequest, c)
  return c.json(await moveAlias(c, { alias: aliasOf(c), aim: { action: 'abort' }, ifVersion: if_version }))
}

/** `DELETE …/aliases/{alias}`. Its history stays until many others were deleted. */
export async function deleteAlias(c: C): Promise<Response> {
  const { if_version } = await readOptional(DeleteAliasRequest, c)
  await moveAlias(c, { alias: aliasOf(c), aim: { action: 'delete' }, ifVersion: if_version })
  return c.body(null, 204)
}

const idOf = ({ alias }: AliasSummary) => alias

/** `GET …/aliases`, by name. */
export async function listAliases(c: C): Promise<Response> {
  const { after, limit } = parseQuery(AliasListQuery, c)
  return c.json(toPage(behind(await aliasesOf(c), { after, limit, id: idOf }), { limit, id: idOf }))
}

/** `GET …/aliases/{alias}`. */
export async function getAlias(c: C): Promise<Response> {
  const name = aliasOf(c)
  const { found, response_format } = await findAlias(c)
  if (found === undefined)
    throw new QuartetError(
      'not_found',
      `this tenant has no alias ${name}; GET …/aliases lists those there are, and …/aliases/${name}/history tells what a deleted one named`,
    )
  return c.json({ ...found, response_format } satisfies AliasDetail)
}

/** `GET …/aliases/{alias}/history`, newest first. */
export async function getHistory(c: C): Promise<Response> {
  const { after, limit } = parseQuery(HistoryQuery, c)
  const before = after === undefined ? undefined : Number(after)
  if (before !== undefined && !(before > 0))
    throw new QuartetError('invalid_request', 'after: must be a version', { param: 'after' })
  const { directory } = c.get('platform')
  const history = unwrap(await directory(c.get('tenant')).history(aliasOf(c), { before, limit: limit + 1 }))
  return c.json(toPage(history, { limit, id: ({ version }) => String(version) }))
}

interface FoundAlias {
  readonly found: AliasSummary | undefined
  /** The form that it gives its answers. */
  readonly response_format: AliasDetail['response_format']
}

/**
 * The alias that the path names, if it is `wanted`. What this isolate does not know may be younger than its memory, so a
 * tenant's is looked up once more.
 */
async function findAlias(c: C, wanted: (alias: AliasSummary) => boolean = () => true): Promise<FoundAlias> {
  const name = aliasOf(c)
  const read = async (record: TenantRecord | undefined): Promise<FoundAlias> => {
    const form = record?.aliases[name]?.form
    return {
      found: (await aliasesOf(c, record)).find((each) => each.alias === name && wanted(each)),
      response_format: (form === undefined ? undefined : record?.forms[form]) ?? null,
    }
  }
  const tenant = c.get('tenant')
  if (c.get('actor').kind === 'admin') return read(await c.get('platform').directory(tenant).record())
  const known = await read(c.get('tenantRecord'))
  return known.found === undefined ? read(await reloadTenant(tenant, readerOf(c))) : known
}

/** A tenant reads what requests read; an operator reads the source. */
async function aliasesOf(
  c: C,
  record: TenantRecord | undefined = c.get('tenantRecord'),
): Promise<AliasSummary[]> {
  const tenant = c.get('tenant')
  if (c.get('actor').kind === 'admin')
    return unwrap(await c.get('platform').directory(tenant).summary()).aliases
  const { aliases = {}, forms = {} } = record ?? {}
  const brief = (form: string | undefined) => {
    const kept = form === undefined ? undefined : forms[form]
    return kept === undefined ? null : briefOf(kept)
  }
  return Object.entries(aliases)
    .map(([alias, { canary, digest, form, shadow, updatedAt, version }]) => ({
      alias: AliasName.parse(alias),
      digest,
      version,
      updatedAt,
      response_format: brief(form),
      canary: canary === undefined ? null : { digest: canary.digest, percent: canary.percent, by: canary.by },
      ...(shadow === undefined ? {} : { shadow: { digest: shadow.digest, percent: shadow.percent } }),
    }))
    .toSorted(byId(idOf))
}
