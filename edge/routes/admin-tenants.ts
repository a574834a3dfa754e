import type { Context } from 'hono'
import type { z } from 'zod'
import {
  CreateKeyRequest,
  type CreateKeyResponse,
  CreateTenantRequest,
  type TenantList,
} from '../../shared/api/admin.ts'
import { parseRequest } from '../../shared/api/parse.ts'
import { sha256Hex } from '../../shared/digest.ts'
import { QuartetError } from '../../shared/errors.ts'
import { KeyId, TenantId } from '../../shared/ids.ts'
import { mintApiKey } from '../auth/api-key.ts'
import type { App } from '../http/context.ts'
import { readJson } from '../http/json-body.ts'
import type { Outcome } from '../tenants/directory.ts'
import { storeKeys } from '../tenants/records.ts'

/** A path segment as the id it must be; anything else names nothing. */
export function pathId<S extends z.ZodType>(schema: S, segment: string | undefined): z.output<S> {
  const id = schema.safeParse(segment)
  if (id.success) return id.data
  throw new QuartetError(
    'invalid_request',
    `the path is wrong: ${id.error.issues[0]?.message ?? 'malformed id'}`,
  )
}

/** The value of a directory's outcome; throws its refusal. */
export function unwrap<T>(outcome: Outcome<T>): T {
  if (outcome.ok) return outcome.value
  throw new QuartetError(outcome.code, outcome.message)
}

/** `POST /admin/v1/tenants`. */
export async function createTenant(c: Context<App>): Promise<Response> {
  const { id } = parseRequest(CreateTenantRequest, await readJson(c.req.raw))
  unwrap(await c.get('platform').directory(id).create(id))
  return c.json({ id }, 201)
}

/** `GET /admin/v1/tenants`. */
export async function listTenants(c: Context<App>): Promise<Response> {
  const { store } = c.get('platform')
  const tenants: TenantList['tenants'] = []
  let cursor: string | null = null
  do {
    const page: KVNamespaceListResult<unknown> = await store.list({ prefix: storeKeys.tenants, cursor })
    tenants.push(
      ...page.keys.map(({ name }) => ({ id: TenantId.parse(name.slice(storeKeys.tenants.length)) })),
    )
    cursor = page.list_complete ? null : page.cursor
  } while (cursor !== null)
  return c.json({ tenants } satisfies TenantList)
}

/** `GET /admin/v1/tenants/{id}`. */
export async function getTenant(c: Context<App>): Promise<Response> {
  const id = pathId(TenantId, c.req.param('id'))
  return c.json(unwrap(await c.get('platform').directory(id).summary()))
}

/** `POST /admin/v1/tenants/{id}/keys`. The secret leaves once and is kept only as its hash. */
export async function createKey(c: Context<App>): Promise<Response> {
  const id = pathId(TenantId, c.req.param('id'))
  const { name } = parseRequest(CreateKeyRequest, await readJson(c.req.raw))
  const key = mintApiKey()
  const keyId = KeyId.parse(`key_${crypto.randomUUID().replaceAll('-', '').slice(0, 12)}`)
  unwrap(
    await c
      .get('platform')
      .directory(id)
      .addKey({ keyId, name, sha256: await sha256Hex(key) }),
  )
  return c.json({ id: keyId, key } satisfies CreateKeyResponse, 201)
}

/** `DELETE /admin/v1/tenants/{id}/keys/{keyId}`. */
export async function revokeKey(c: Context<App>): Promise<Response> {
  const id = pathId(TenantId, c.req.param('id'))
  unwrap(
    await c
      .get('platform')
      .directory(id)
      .revokeKey(pathId(KeyId, c.req.param('keyId'))),
  )
  return c.body(null, 204)
}
