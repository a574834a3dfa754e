import type { TenantPolicy } from '../../shared/api/policy.ts'
import { QuartetError } from '../../shared/errors.ts'
import { type AdapterDigest, AliasName, BackboneSlug } from '../../shared/ids.ts'
import type { AliasRecord, BackboneRecord, Target, TenantRecord } from '../store/records.ts'
import { findBackbone, type Reader, readBackbone, reloadTenant } from './read.ts'

/** The meaning of a request's `model` to the tenant that asks. */
export interface ResolvedModel {
  readonly record: BackboneRecord
  readonly adapter: { readonly digest: AdapterDigest; readonly rows: number } | null
  /** Milliseconds since 1970. */
  readonly createdAt: number
}

/** The adapter that is meant by an alias. */
type Choose = (alias: AliasName, record: AliasRecord) => Target

/**
 * Looks `model` up among the backbones, whose names always mean the untuned model, and among the tenant's own aliases.
 * An alias that this isolate does not know may be younger than its memory, so it is looked up once more. Whatever else
 * exists elsewhere is `model_not_found` in the same words; what the tenant's policy leaves out is `model_not_allowed`.
 */
export async function resolveModel(
  model: string,
  { choose, reader, tenant }: { tenant: TenantRecord; reader: Reader; choose: Choose },
): Promise<ResolvedModel> {
  const asked: Asked = { model, choose, reader }
  const untuned = await findUntuned(asked, tenant)
  const found =
    untuned ??
    (await findAlias(asked, tenant)) ??
    (await findAlias(asked, await reloadTenant(tenant.id, reader)))
  if (found === undefined)
    throw new QuartetError(
      'model_not_found',
      `the model ${JSON.stringify(model)} does not exist; GET /v1/models lists yours`,
      { param: 'model' },
    )
  if (!isAllowed(model, tenant.policy.aliases))
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
  readonly choose: Choose
  readonly reader: Reader
}

async function findUntuned(
  { model, reader }: Asked,
  tenant: TenantRecord,
): Promise<ResolvedModel | undefined> {
  const slug = BackboneSlug.safeParse(model)
  const record = slug.success ? await findBackbone(slug.data, { reader, tenant: tenant.id }) : undefined
  return record && { record, adapter: null, createdAt: record.createdAt }
}

async function findAlias(
  { choose, model, reader }: Asked,
  tenant: TenantRecord | undefined,
): Promise<ResolvedModel | undefined> {
  const alias = AliasName.safeParse(model)
  if (!alias.success) return undefined
  const aliases = tenant?.aliases ?? {}
  const named = Object.hasOwn(aliases, alias.data) ? aliases[alias.data] : undefined
  if (named === undefined) return undefined
  const target = choose(alias.data, named)
  const record = await readBackbone(target.backbone, reader)
  return record && { record, adapter: target, createdAt: named.updatedAt }
}
