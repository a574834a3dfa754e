import type { Context } from 'hono'
import { parseAdapterFile } from '../../shared/adapter-file.ts'
import { PutAliasRequest } from '../../shared/api/admin.ts'
import { parseRequest } from '../../shared/api/parse.ts'
import { sha256Hex } from '../../shared/digest.ts'
import { QuartetError } from '../../shared/errors.ts'
import { AdapterDigest, AliasName, BackboneSlug, TenantId } from '../../shared/ids.ts'
import { maxAdapterBytes } from '../../shared/wire.ts'
import type { App } from '../http/context.ts'
import { readBytes, readJson } from '../http/json-body.ts'
import { readBackbone } from '../tenants/read.ts'
import { storeKeys } from '../tenants/records.ts'
import { pathId, unwrap } from './admin-tenants.ts'

/** `PUT /admin/v1/tenants/{id}/adapters/{digest}`: an adapter file, verified before it is kept. */
export async function putAdapter(c: Context<App>): Promise<Response> {
  const tenant = pathId(TenantId, c.req.param('id'))
  const digest = pathId(AdapterDigest, c.req.param('digest'))
  const file = await readBytes(c.req.raw, maxAdapterBytes)
  const actual = await sha256Hex(file)
  if (actual !== digest)
    throw new QuartetError('digest_mismatch', `the file's SHA-256 is ${actual}, not the one in the path`)
  const { metadata } = parseAdapterFile(file)
  const record = await readBackbone(metadata.backbone, c)
  if (record?.backbone.digest !== metadata.backbone_sha256)
    throw new QuartetError(
      'backbone_mismatch',
      record === undefined
        ? `the adapter is for the backbone ${metadata.backbone}, which is not served here`
        : `the adapter is for other weights of ${metadata.backbone} than are served here`,
      { param: record === undefined ? 'backbone' : 'backbone_sha256' },
    )
  const directory = c.get('platform').directory(tenant)
  unwrap(await directory.summary())
  await c.get('platform').store.put(storeKeys.adapter(tenant, digest), file)
  const { backbone, kind, l_sp: rows } = metadata
  unwrap(await directory.addAdapter({ digest, backbone, kind, rows, bytes: file.length }))
  return c.body(null, 204)
}

/** `PUT /admin/v1/tenants/{id}/aliases/{alias}`: deploys an adapter under a name. */
export async function putAlias(c: Context<App>): Promise<Response> {
  const tenant = pathId(TenantId, c.req.param('id'))
  const alias = pathId(AliasName, c.req.param('alias'))
  const { digest } = parseRequest(PutAliasRequest, await readJson(c.req.raw))
  const slug = BackboneSlug.safeParse(alias)
  if (slug.success && (await readBackbone(slug.data, c)) !== undefined)
    throw new QuartetError('conflict', `${alias} is the name of a backbone; choose another alias`)
  unwrap(await c.get('platform').directory(tenant).setAlias({ alias, digest }))
  return c.body(null, 204)
}

/** `DELETE /admin/v1/tenants/{id}/aliases/{alias}`. */
export async function deleteAlias(c: Context<App>): Promise<Response> {
  const tenant = pathId(TenantId, c.req.param('id'))
  unwrap(
    await c
      .get('platform')
      .directory(tenant)
      .deleteAlias(pathId(AliasName, c.req.param('alias'))),
  )
  return c.body(null, 204)
}
