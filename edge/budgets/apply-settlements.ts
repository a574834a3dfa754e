import { toQuartetError } from '../../shared/errors.ts'
import type { SettlementId, TenantId } from '../../shared/ids.ts'
import type { Log } from '../../shared/log.ts'
import type { Settlement } from '../../shared/settlement.ts'

/** A tenant's budget, as far as it is told of settlements. */
interface SettlementOwner {
  settle(settlements: readonly Settlement[]): Promise<SettlementId[]>
}

/**
 * Charges what nodes tell of their own accord, each to its tenant, once. Returns what is charged and recorded, so that
 * the nodes forget it; a tenant whose budget does not answer now is told of again with a later heartbeat.
 */
export async function applySettlements(
  settlements: readonly Settlement[],
  { budget, log }: { budget: (tenant: TenantId) => SettlementOwner; log: Log },
): Promise<SettlementId[]> {
  const ofTenants = [...Map.groupBy(settlements, ({ tenant }) => tenant)]
  const acknowledged = await Promise.all(
    ofTenants.map(async ([tenant, own]) => {
      try {
        return await budget(tenant).settle(own)
      } catch (thrown) {
        log('warn', 'settlements_deferred', {
          tenant,
          count: own.length,
          reason: toQuartetError(thrown).message,
        })
        return []
      }
    }),
  )
  return acknowledged.flat()
}
