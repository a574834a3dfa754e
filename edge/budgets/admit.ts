import type { Context } from 'hono'
import { createMiddleware } from 'hono/factory'
import { currentFleet } from '../fleet/current-fleet.ts'
import { within } from '../http/within.ts'
import type { TenantApp } from '../request-context.ts'
import type { Demand, Reservation } from './admission.ts'
import type { BudgetAccess } from './budgets.ts'
import { settlementsAt } from './collect.ts'
import { limitsOf } from './limits.ts'

/** Reserves what a request may use at most, before its work begins. Throws what `Budgets.admit` throws. */
export async function admit(demand: Demand, c: Context<TenantApp>): Promise<Reservation> {
  const started = performance.now()
  const tenant = c.get('tenant')
  const record = c.get('tenantRecord')
  const reach = accessOf(c)
  const { budgets } = c.get('platform')
  const reservation = await budgets.admit(
    {
      tenant,
      tenancy: record.createdAt,
      key: c.get('keyId'),
      requestId: c.get('requestId'),
      demand: { ...demand, ...(c.get('isBatch') ? { tokenShare: record.policy.batchTokenShare } : {}) },
      limits: limitsOf(record.policy),
      cachedTokenShare: record.policy.cachedTokenShare,
    },
    reach,
  )
  c.get('timings').push({ name: 'reserve', ms: performance.now() - started })
  return {
    meter: (choice) => reservation.meter(choice),
    settle: (choice, use) => reservation.settle(choice, use),
    close(outcome) {
      reservation.close(outcome)
      budgets.keep(tenant, reach)
    },
  }
}

/**
 * Refuses a request that the limits have no room for whatever it asks, before its body is read, rendered and tokenized.
 * Where this isolate knows of room it costs nothing; else the budget's owner is asked. Throws BudgetRefusal.
 */
export const refuseOverLimits = createMiddleware<TenantApp>(async (c, next) => {
  const record = c.get('tenantRecord')
  const tenant = { tenant: c.get('tenant'), tenancy: record.createdAt, limits: limitsOf(record.policy) }
  await c.get('platform').budgets.refuseIfFull(tenant, accessOf(c))
  await next()
})

/** An owner that is silent counts as one that is down; what it did all the same is found out by asking again. */
const ownerPatienceMs = 2_000

const silent = (): never => {
  throw new Error('the budget is silent')
}

function accessOf(c: Context<TenantApp>): BudgetAccess {
  const { budget, budgets, nodeKey } = c.get('platform')
  const tenant = c.get('tenant')
  return {
    owner: {
      exchange: (exchange) =>
        within(ownerPatienceMs, { work: budget(tenant).exchange(exchange), late: silent }),
    },
    collect: async (url, ids) => {
      const node = (await currentFleet(c)).nodes.find((each) => each.url === url)
      // It tells of them by itself when it is back.
      if (node === undefined) throw new Error(`no node of the fleet is at ${url}`)
      const acknowledge = budgets.acknowledgements(tenant, { node: url, most: ids.length })
      return settlementsAt(node, { nodeKey, tenant, request: { acknowledge, collect: [...ids] } })
    },
    background: (work) => c.executionCtx.waitUntil(work),
  }
}
