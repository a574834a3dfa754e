import type { Context } from 'hono'
import { type Model, type ModelList, ModelListQuery } from '../../shared/api/models.ts'
import { toPage } from '../../shared/api/paging.ts'
import type { AdapterDigest, BackboneSlug } from '../../shared/ids.ts'
import { readerOf } from '../http/reader.ts'
import { behind, byId, parseQuery, pathParameter } from '../http/request-parts.ts'
import type { TenantApp } from '../request-context.ts'
import { listBackbones } from '../tenants/read.ts'
import { isAllowed, resolveModel } from '../tenants/resolve-model.ts'

/** `GET /v1/models`: the tenant's aliases, then the backbones, as far as its policy lets it ask for them. */
export async function listModels(c: Context<TenantApp>): Promise<Response> {
  const { after, limit } = parseQuery(ModelListQuery, c)
  const tenant = c.get('tenantRecord')
  const backbones = await listBackbones(readerOf(c))
  const aliases = Object.entries(tenant.aliases).map(([id, { backbone, digest, updatedAt }]) =>
    toModel({ id, backbone, adapter: digest, createdAt: updatedAt }),
  )
  const untuned = backbones.map(({ backbone: { slug }, createdAt }) =>
    toModel({ id: slug, backbone: slug, adapter: undefined, createdAt }),
  )
  const slugs = new Set(untuned.map(({ id }) => id))
  const placeOf = (id: string) => `${slugs.has(id) ? 'backbone' : 'alias'} ${id}`
  const place = ({ id }: Model) => placeOf(id)
  const models = [...aliases.filter(({ id }) => !slugs.has(id)), ...untuned]
    .filter(({ id }) => isAllowed(id, tenant.policy.aliases))
    .toSorted(byId(place))
  const page = behind(models, { after: after && placeOf(after), limit, id: place })
  return c.json(toPage(page, { limit, id: ({ id }) => id }) satisfies ModelList)
}

/** `GET /v1/models/{model}` shows the deployed adapter of an alias, or those of a stack; it never shows a canary. */
export async function getModel(c: Context<TenantApp>): Promise<Response> {
  const id = pathParameter(c, 'model')
  const { adapters, createdAt, record } = await resolveModel(id, {
    tenant: c.get('tenantRecord'),
    reader: readerOf(c),
    choose: (_alias, deployed) => deployed,
  })
  const [adapter, ...behind] = adapters.map(({ digest }) => digest)
  return c.json(toModel({ id, backbone: record.backbone.slug, adapter, behind, createdAt }))
}

function toModel({
  adapter,
  backbone,
  behind = [],
  createdAt,
  id,
}: {
  id: string
  backbone: BackboneSlug
  adapter: AdapterDigest | undefined
  behind?: readonly AdapterDigest[]
  createdAt: number
}): Model {
  return {
    id,
    object: 'model',
    created: Math.floor(createdAt / 1000),
    owned_by: adapter === undefined ? 'quartet' : 'tenant',
    backbone,
    ...(adapter === undefined ? {} : { adapter }),
    ...(behind.length === 0 ? {} : { behind: [...behind] }),
  }
}
