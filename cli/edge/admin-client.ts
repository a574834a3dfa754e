import { z } from 'zod'
import {
  type ChangeKeyRequest,
  CreateKeyResponse,
  KeySummary,
  type PutBackboneRequest,
  type TenantEntry,
  TenantList,
  type TenantStatus,
  TenantSummary,
} from '../../shared/api/admin.ts'
import { PutWebhookResponse, WebhookResponse } from '../../shared/api/alerts.ts'
import { AuditPage } from '../../shared/api/audit.ts'
import { FleetResponse } from '../../shared/api/fleet.ts'
import type { TenantPolicyChange } from '../../shared/api/policy.ts'
import type { Scopes } from '../../shared/api/scopes.ts'
import { BudgetReport, UsageList, type UsageRow } from '../../shared/api/usage.ts'
import type { AdapterDigest, AliasName, KeyId, TenantId } from '../../shared/ids.ts'
import { deploymentsClient } from './deployments-client.ts'
import { type EdgeAccess, send } from './edge-call.ts'

/** Where an edge is and the key that opens its admin API. */
export interface AdminAccess {
  readonly edge: string
  readonly adminKey: string
}

interface NewKey {
  readonly name?: string | undefined
  readonly expiresAt?: number | null | undefined
  readonly scopes?: Scopes | undefined
}

const anything = z.unknown()

export type AdminClient = ReturnType<typeof adminClient>

/** The edge's admin API (`/admin/v1`), typed; every answer is checked. Refusals keep the edge's code and words. */
export function adminClient({ adminKey, edge }: AdminAccess) {
  const access: EdgeAccess = { edge, base: '/admin/v1', key: adminKey }
  const deployments = (tenant: TenantId) =>
    deploymentsClient({ ...access, base: `${access.base}/tenants/${tenant}` })
  return {
    edge,

    fleet: () => send(access, { method: 'GET', path: 'fleet', answer: FleetResponse }),

    putBackbone: (body: PutBackboneRequest) =>
      send(access, { method: 'PUT', path: `backbones/${body.backbone.slug}`, json: body, answer: anything }),

    /** Throws `conflict` when the tenant exists. */
    createTenant: (id: TenantId, policy: TenantPolicyChange = {}) =>
      send(access, { method: 'POST', path: 'tenants', json: { id, policy }, answer: TenantSummary }),

    /** All of them, by id. */
    async listTenants(): Promise<TenantEntry[]> {
      const tenants: TenantEntry[] = []
      for (let after: string | undefined; ; ) {
        const page = await send(access, {
          method: 'GET',
          path: 'tenants',
          query: { after, limit: 1_000 },
          answer: TenantList,
        })
        tenants.push(...page.tenants)
        if (!page.has_more || page.last_id === null) return tenants
        after = page.last_id
      }
    },

    changeTenant: (
      id: TenantId,
      change: { readonly status?: TenantStatus; readonly policy?: TenantPolicyChange },
    ) => send(access, { method: 'PATCH', path: `tenants/${id}`, json: change, answer: TenantSummary }),

    deleteTenant: (id: TenantId) =>
      send(access, { method: 'DELETE', path: `tenants/${id}`, answer: anything }),

    audit: (query: Readonly<Record<string, string | number | undefined>>) =>
      send(access, { method: 'GET', path: 'audit', query, answer: AuditPage }),

    /** Every page of it. */
    async usage(query: {
      readonly tenant?: TenantId | undefined
      readonly from?: string | undefined
      readonly to?: string | undefined
    }): Promise<UsageRow[]> {
      const rows: UsageRow[] = []
      for (let after: string | undefined; ; ) {
        const call = { method: 'GET', path: 'usage', query: { ...query, after }, answer: UsageList } as const
        const page = await send(access, call)
        rows.push(...page.data)
        if (!page.has_more || page.last_id === null) return rows
        after = page.last_id
      }
    },

    /** How a tenant's limits stand. */
    budget: (id: TenantId) =>
      send(access, { method: 'GET', path: `tenants/${id}/budget`, answer: BudgetReport }),

    deployments,

    showTenant: (id: TenantId) =>
      send(access, { method: 'GET', path: `tenants/${id}`, answer: TenantSummary }),

    /** `scopes`: null lets the key do everything. */
    createKey: (tenant: TenantId, { expiresAt = null, name = '', scopes = null }: NewKey = {}) =>
      send(access, {
        method: 'POST',
        path: `tenants/${tenant}/keys`,
        json: { name, expiresAt, scopes },
        answer: CreateKeyResponse,
      }),

    changeKey: (tenant: TenantId, key: KeyId, change: ChangeKeyRequest) =>
      send(access, {
        method: 'PATCH',
        path: `tenants/${tenant}/keys/${key}`,
        json: change,
        answer: KeySummary,
      }),

    revokeKey: (tenant: TenantId, key: KeyId) =>
      send(access, { method: 'DELETE', path: `tenants/${tenant}/keys/${key}`, answer: anything }),

    webhook: (tenant: TenantId) =>
      send(access, { method: 'GET', path: `tenants/${tenant}/webhook`, answer: WebhookResponse }),

    /** The secret is shown only here. */
    setWebhook: (tenant: TenantId, url: string) =>
      send(access, {
        method: 'PUT',
        path: `tenants/${tenant}/webhook`,
        json: { url },
        answer: PutWebhookResponse,
      }),

    removeWebhook: (tenant: TenantId) =>
      send(access, { method: 'DELETE', path: `tenants/${tenant}/webhook`, answer: anything }),

    putAdapter: (
      tenant: TenantId,
      file: { readonly digest: AdapterDigest; readonly bytes: Uint8Array<ArrayBuffer> },
    ) => deployments(tenant).publish({ ...file, alias: undefined }),

    setAlias: (tenant: TenantId, { alias, digest }: { alias: AliasName; digest: AdapterDigest }) =>
      deployments(tenant).setAlias(alias, { digest }),
  }
}
