import type { Context } from 'hono'
import { createMiddleware } from 'hono/factory'
import {
  ChangeKeyRequest,
  ChangeTenantRequest,
  CreateKeyRequest,
  type CreateKeyResponse,
  CreateTenantRequest,
  type TenantList,
  TenantListQuery,
} from '../../shared/api/admin.ts'
import { parseRequest } from '../../shared/api/parse.ts'
import { unlimited } from '../../shared/api/policy.ts'
import type { Scopes } from '../../shared/api/scopes.ts'
import { sha256Hex } from '../../shared/digest.ts'
import { QuartetError } from '../../shared/errors.ts'
import { KeyId } from '../../shared/ids.ts'
import type { AuditTarget } from '../audit/audit-target.ts'
import { mintApiKey } from '../auth/api-key.ts'
import { unwrap } from '../directory/outcome.ts'
import { readJson } from '../http/json-body.ts'
import { parseQuery, pathParameter } from '../http/request-parts.ts'
import type { AdminApp, ControlApp } from '../request-context.ts'

type C = Context<ControlApp>

/** The tenant that an operator's path names. */
export const tenantOfPath = createMiddleware<ControlApp>(async (c, next) => {
  c.set('tenant', pathParameter(c, 'id'))
  await next()
})

const directory = (c: C) => c.get('platform').directory(c.get('tenant'))

/** `POST /admin/v1/tenants`. */
export async function createTenant(c: Context<AdminApp>): Promise<Response> {
  const { id, policy = unlimited } = parseRequest(CreateTenantRequest, await readJson(c.req.raw))
  Object.assign(c.get('auditTarget'), { id, policy: JSON.stringify(policy) } satisfies AuditTarget)
  return c.json(unwrap(await c.get('platform').directory(id).create(id, policy)), 201)
}

/** `GET /admin/v1/tenants`. */
export async function listTenants(c: Context<AdminApp>): Promise<Response> {
  const { after, limit } = parseQuery(TenantListQuery, c)
  const found = await c
    .get('platform')
    .changeFeed()
    .tenants({ after: after ?? '', limit: limit + 1, of: 'today' })
  const tenants = found
    .slice(0, limit)
    .flatMap(({ createdAt, id, status }) => (status === 'deleted' ? [] : [{ id, status, createdAt }]))
  return c.json({
    tenants,
    last_id: tenants.at(-1)?.id ?? null,
    has_more: found.length > limit,
  } satisfies TenantList)
}

/** `GET /admin/v1/tenants/{id}`. */
export async function getTenant(c: C): Promise<Response> {
  return c.json(unwrap(await directory(c).summary()))
}

/** `PATCH /admin/v1/tenants/{id}`: suspends, resumes, changes limits. */
export async function changeTenant(c: C): Promise<Response> {
  const change = parseRequest(ChangeTenantRequest, await readJson(c.req.raw))
  c.get('auditTarget').change = JSON.stringify(change)
  return c.json(unwrap(await directory(c).change(change)))
}

/** `DELETE /admin/v1/tenants/{id}`. */
export async function deleteTenant(c: C): Promise<Response> {
  unwrap(await directory(c).remove())
  return c.body(null, 204)
}

/** `POST /admin/v1/tenants/{id}/keys`. The secret leaves once and is kept only as its hash. */
export async function createKey(c: C): Promise<Response> {
  const { expiresAt, name, scopes } = parseRequest(CreateKeyRequest, await readJson(c.req.raw))
  requireFuture(expiresAt)
  const key = mintApiKey()
  const keyId = KeyId.parse(`key_${crypto.randomUUID().replaceAll('-', '').slice(0, 12)}`)
  Object.assign(c.get('auditTarget'), {
    keyId,
    expiresAt: String(expiresAt),
    scopes: scopesText(scopes),
  } satisfies AuditTarget)
  unwrap(await directory(c).addKey({ keyId, name, sha256: await sha256Hex(key), expiresAt, scopes }))
  return c.json({ id: keyId, key, expiresAt, scopes } satisfies CreateKeyResponse, 201)
}

/** `PATCH /admin/v1/tenants/{id}/keys/{keyId}`. */
export async function changeKey(c: C): Promise<Response> {
  const keyId = pathParameter(c, 'keyId')
  const change = parseRequest(ChangeKeyRequest, await readJson(c.req.raw))
  const { expiresAt, scopes } = change
  Object.assign(c.get('auditTarget'), {
    ...(expiresAt === undefined ? {} : { expiresAt: String(expiresAt) }),
    ...(scopes === undefined ? {} : { scopes: scopesText(scopes) }),
  } satisfies AuditTarget)
  return c.json(unwrap(await directory(c).changeKey(keyId, change)))
}

/** `DELETE /admin/v1/tenants/{id}/keys/{keyId}`. */
export async function revokeKey(c: C): Promise<Response> {
  unwrap(await directory(c).revokeKey(pathParameter(c, 'keyId')))
  return c.body(null, 204)
}

/** The scopes as the audit log writes them. */
const scopesText = (scopes: Scopes): string => scopes?.join(' ') ?? 'all'

/** A new key that has expired is a mistake: seconds in place of milliseconds, perhaps. */
function requireFuture(expiresAt: number | null): void {
  if (expiresAt !== null && expiresAt <= Date.now())
    throw new QuartetError('invalid_request', 'expiresAt: lies in the past; give milliseconds since 1970', {
      param: 'expiresAt',
    })
}
