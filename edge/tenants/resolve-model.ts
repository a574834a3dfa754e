import type { Context } from 'hono'
import type { TenantPolicy } from '../../shared/api/policy.ts'
import { QuartetError } from '../../shared/errors.ts'
import { type AdapterDigest, AliasName, BackboneSlug } from '../../shared/ids.ts'
import type { TenantApp } from '../http/context.ts'
import type { BackboneRecord } from '../store/records.ts'
import { chooseTarget } from './choose-target.ts'
import { readBackbone, readTenant, reloadTenant } from './read.ts'

/** What a request's `model` means to the tenant that asks. */
export interface ResolvedModel {
  readonly record: BackboneRecord
  readonly adapter: { readonly digest: AdapterDigest; readonly rows: number } | null
  /** Milliseconds since 1970. */
  readonly createdAt: number
}

/**
 * Looks `model` up among the tenant's own aliases, then among the backbones. An alias that this isolate does not know
 * may be younger than its memory, so it is looked up once more. Whatever else exists elsewhere is `model_not_found`
 * in the same words; what the tenant's policy leaves out is `model_not_allowed`. `user` decides with whom a canary is.
 */
export async function resolveModel(
  model: string,
  { c, user }: { c: Context<TenantApp>; user: string | undefined },
): Promise<ResolvedModel> {
  const asked: Asked = { model, user, c }
  const found = (await lookUp(asked, readTenant)) ?? (await lookUp(asked, reloadTenant))
  if (found === undefined)
    throw new QuartetError(
      'model_not_found',
      `the model ${JSON.stringify(model)} does not exist; GET /v1/models lists yours`,
      { param: 'model' },
    )
  const allowed = (await readTenant(c.get('tenant'), c))?.policy.aliases ?? null
  if (!isAllowed(model, allowed))
    throw new QuartetError(
      'model_not_allowed',
      `this tenant may not ask for the model ${JSON.stringify(model)}; GET /v1/models lists those it may`,
      { param: 'model' },
    )
  return found
}

/** Whether a policy's `aliases` let a tenant ask for a model. */
export const isAllowed = (model: string, allowed: TenantPolicy['aliases']): boolean =>
  allowed === null || allowed.some((alias) => alias === model)

interface Asked {
  readonly model: string
  readonly user: string | undefined
  readonly c: Context<TenantApp>
}

async function lookUp(
  { c, model, user }: Asked,
  read: typeof readTenant,
): Promise<ResolvedModel | undefined> {
  const alias = AliasName.safeParse(model)
  const aliases = alias.success ? ((await read(c.get('tenant'), c))?.aliases ?? {}) : {}
  const named = alias.success && Object.hasOwn(aliases, alias.data) ? aliases[alias.data] : undefined
  if (alias.success && named !== undefined) {
    const target = chooseTarget(alias.data, named, { requestId: c.get('requestId'), user })
    const record = await readBackbone(target.backbone, c)
    if (record !== undefined) return { record, adapter: target, createdAt: named.updatedAt }
  }
  const slug = BackboneSlug.safeParse(model)
  const record = slug.success ? await readBackbone(slug.data, c) : undefined
  return record && { record, adapter: null, createdAt: record.createdAt }
}
