import type { Context } from 'hono'
import { QuartetError } from '../../shared/errors.ts'
import { type AdapterDigest, AliasName, BackboneSlug } from '../../shared/ids.ts'
import type { TenantApp } from '../http/context.ts'
import { readBackbone, readTenant, reloadTenant } from './read.ts'
import type { BackboneRecord } from './records.ts'

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
 * in the same words.
 */
export async function resolveModel(model: string, c: Context<TenantApp>): Promise<ResolvedModel> {
  const found = (await lookUp(model, c, readTenant)) ?? (await lookUp(model, c, reloadTenant))
  if (found !== undefined) return found
  throw new QuartetError(
    'model_not_found',
    `the model ${JSON.stringify(model)} does not exist; GET /v1/models lists yours`,
    { param: 'model' },
  )
}

async function lookUp(
  model: string,
  c: Context<TenantApp>,
  read: typeof readTenant,
): Promise<ResolvedModel | undefined> {
  const alias = AliasName.safeParse(model)
  const aliases = alias.success ? ((await read(c.get('tenant'), c))?.aliases ?? {}) : {}
  const target = alias.success && Object.hasOwn(aliases, alias.data) ? aliases[alias.data] : undefined
  if (target !== undefined) {
    const record = await readBackbone(target.backbone, c)
    if (record !== undefined) return { record, adapter: target, createdAt: target.updatedAt }
  }
  const slug = BackboneSlug.safeParse(model)
  const record = slug.success ? await readBackbone(slug.data, c) : undefined
  return record && { record, adapter: null, createdAt: record.createdAt }
}
