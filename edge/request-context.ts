import type { Scopes } from '../shared/api/scopes.ts'
import type { KeyId, RequestId, TenantId } from '../shared/ids.ts'
import type { AuditTarget } from './audit/audit-target.ts'
import type { Actor } from './http/actor.ts'
import type { Bindings, Platform } from './platform.ts'
import type { TenantRecord } from './store/records.ts'
import type { RequestReport } from './telemetry/request-report.ts'
import type { HopTimings } from './telemetry/server-timing.ts'

/** The context that every request carries along its hops. */
export interface App {
  Bindings: Bindings
  Variables: {
    platform: Platform
    requestId: RequestId
    timings: HopTimings
    /** The facts that become known of the request, for the access log and its trace. */
    report: RequestReport
  }
}

/** The same behind `authenticate`. */
export interface TenantApp {
  Bindings: App['Bindings']
  Variables: App['Variables'] & {
    tenant: TenantId
    /** The tenant as it stood when the request was let in. */
    tenantRecord: TenantRecord
    keyId: KeyId
    /** Null: the key may do everything. */
    scopes: Scopes
    actor: Actor
    /** Lets the request in anew where that was long ago: its body may have been slow. */
    letInAnew?: () => Promise<void>
    /** A request of a batch: it runs when nobody else waits, and its tokens count by the policy's share. */
    isBatch?: true
  }
}

/** The control plane, behind either authentication: an operator or a tenant's own key acts on one tenant. */
export interface ControlApp {
  Bindings: App['Bindings']
  Variables: App['Variables'] & {
    actor: Actor
    tenant: TenantId
    /** Absent where an operator acts: the directory is asked. */
    tenantRecord?: TenantRecord
    auditTarget: AuditTarget
    /** Set once the audit log has it: from then on it may act. */
    isActionBegun?: true
  }
}

/** The same for what is not one tenant's. */
export interface AdminApp {
  Bindings: App['Bindings']
  Variables: App['Variables'] &
    Pick<ControlApp['Variables'], 'actor' | 'auditTarget' | 'isActionBegun'> & { tenant?: TenantId }
}
