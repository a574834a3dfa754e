import type { KeyId, RequestId } from '../../shared/ids.ts'
import { currentFleet } from '../fleet/current-fleet.ts'
import { within } from '../http/within.ts'
import type { Platform } from '../platform.ts'
import type { TenantRecord } from '../store/records.ts'
import type { Reservation, UsageBound } from './admission.ts'
import type { BudgetAccess } from './budgets.ts'
import { settlementsAt } from './collect.ts'
import { limitsOf } from './limits.ts'

/** The tenant that pays for a request, and the means by which the request reaches others. */
export interface Payer {
  readonly tenant: TenantRecord
  readonly platform: Pick<Platform, 'budget' | 'budgets' | 'fleet' | 'nodeKey' | 'registry'>
  /** Keeps work alive that outlasts the request. */
  readonly background: (work: Promise<unknown>) => void
}

/** Reserves what a request may use at most, before its work begins. Throws what `Budgets.admit` throws. */
export async function admit(
  { bound, key, requestId }: { bound: UsageBound; key: KeyId; requestId: RequestId },
  payer: Payer,
): Promise<Reservation> {
  const { budgets } = payer.platform
  const { createdAt, id, policy } = payer.tenant
  const access = accessOf(payer)
  const reservation = await budgets.admit(
    {
      tenant: id,
      tenancy: createdAt,
      key,
      requestId,
      bound,
      limits: limitsOf(policy),
      cachedTokenShare: policy.cachedTokenShare,
    },
    access,
  )
  return {
    terms: (choice) => reservation.terms(choice),
    settle: (choice, use) => reservation.settle(choice, use),
    unanswered: (choice, outcome) => reservation.unanswered(choice, outcome),
    close(outcome) {
      reservation.close(outcome)
      budgets.keep(id, access)
    },
  }
}

/** An owner that is silent counts as one that is down; the next call finds out whether it acted. */
const ownerPatienceMs = 2_000

const silent = (): never => {
  throw new Error('the budget is silent')
}

/** How a request reaches its tenant's budget, and the nodes that know of settlements. */
export function accessOf({ background, platform, tenant: { id } }: Payer): BudgetAccess {
  const { budget, budgets, nodeKey } = platform
  return {
    owner: {
      exchange: (exchange) => within(ownerPatienceMs, { work: budget(id).exchange(exchange), late: silent }),
    },
    collect: async (url, ids) => {
      const node = (await currentFleet({ background, platform })).nodes.find((each) => each.url === url)
      // It tells of them by itself when it is back.
      if (node === undefined) throw new Error(`no node of the fleet is at ${url}`)
      const acknowledge = budgets.acknowledgements(id, { node: url, most: ids.length })
      return settlementsAt(node, { nodeKey, tenant: id, request: { acknowledge, collect: [...ids] } })
    },
    background,
  }
}
