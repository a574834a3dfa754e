import type { TenantPolicy } from '../shared/api/policy.ts'
import type { AliasName, TenantId } from '../shared/ids.ts'

/**
 * A warning where a tenant's policy leaves out an alias that was just set: the alias exists, and no request may name
 * it.
 */
export function leftOutNote(
  { aliases }: Pick<TenantPolicy, 'aliases'>,
  { alias, tenant }: { readonly alias: AliasName; readonly tenant: TenantId },
): string | undefined {
  if (aliases === null || aliases.includes(alias)) return undefined
  return `warning: the policy of ${tenant} leaves ${alias} out, so requests for it get 403 model_not_allowed; add it with quartet tenant limit ${tenant} --models …`
}

/** How an adapter without an alias gets one, as an operator or as a tenant. */
export function namingNote(tenant: TenantId | undefined): string {
  return tenant === undefined
    ? 'your tenant has the adapter; publish it again with --alias NAME to name it, or PUT /v1/aliases/NAME with your key'
    : `${tenant} has the adapter; name it with quartet alias set`
}
