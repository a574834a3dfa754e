import type { TenantSummary } from '../../shared/api/admin.ts'
import type { AdapterDigest, TenantId } from '../../shared/ids.ts'
import type { AdaptersRecord, TenantRecord } from '../store/records.ts'
import type { Tables } from './tables.ts'

/** The tenant's record that requests read; undefined when there is none. */
export function tenantRecord({ adapters, aliases, tenant }: Tables): TenantRecord | undefined {
  const { state } = tenant
  if (state === undefined || state.status === 'deleted') return undefined
  const known = new Map(adapters.list().map((adapter) => [adapter.digest, adapter]))
  const target = (digest: AdapterDigest) => {
    const adapter = known.get(digest)
    if (adapter === undefined) return undefined
    const { backbone, placement, rows, tail } = adapter
    return {
      digest,
      backbone,
      rows,
      ...(tail === undefined ? {} : { tail }),
      ...(placement === undefined ? {} : { placement }),
    }
  }
  const forms = aliases.forms.current()
  const formOf = new Map(forms.map(({ alias, id }) => [alias, String(id)]))
  const targets = aliases.list().flatMap(({ alias, canary, digest, shadow, updatedAt, version }) => {
    const stable = target(digest)
    const trial = canary && target(canary.digest)
    const other = shadow && target(shadow.digest)
    if (stable === undefined) return []
    const { by, percent } = canary ?? { by: 'request', percent: 0 }
    const form = formOf.get(alias)
    return [
      [
        alias,
        {
          ...stable,
          updatedAt,
          version,
          ...(form !== undefined && { form }),
          ...(trial && { canary: { ...trial, by, percent } }),
          ...(other && { shadow: { ...other, percent: shadow.percent } }),
        },
      ] as const,
    ]
  })
  return {
    id: state.id,
    createdAt: state.createdAt,
    version: state.version,
    status: state.status,
    policy: tenant.policy,
    aliases: Object.fromEntries(targets),
    forms: Object.fromEntries(forms.map(({ form, id }) => [String(id), form])),
  }
}

/** The tenant's adapters, for lists. */
export function adaptersRecord({ adapters, tenant }: Tables): AdaptersRecord | undefined {
  const { state } = tenant
  return state && { version: state.version, adapters: adapters.list() }
}

/** The tenant as operators see it. */
export function tenantSummary(id: TenantId, { adapters, aliases, keys, tenant }: Tables): TenantSummary {
  const { state } = tenant
  return {
    id,
    createdAt: state?.createdAt ?? 0,
    status: state?.status === 'suspended' ? 'suspended' : 'active',
    policy: tenant.policy,
    keys: keys.list(),
    adapters: adapters.list(),
    aliases: aliases.list(),
  }
}
