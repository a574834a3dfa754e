import type { Context } from 'hono'
import { createMiddleware } from 'hono/factory'
import { readerOf } from '../http/reader.ts'
import type { TenantApp } from '../request-context.ts'
import { accessOf } from './admit.ts'
import { limitsOf } from './limits.ts'

/**
 * Refuses any request of a tenant whose limits have no room, before its body is read, rendered and tokenized.
 * Where this isolate knows of room it costs nothing; else the budget's owner is asked. Throws BudgetRefusal.
 */
export const refuseOverLimits = createMiddleware<TenantApp>(async (c, next) => {
  await checkLimits(c)
  await next()
})

/** Whether the limits may have room for a request; where that cannot be told, they have none. */
export const hasRoom = (c: Context<TenantApp>): Promise<boolean> =>
  checkLimits(c).then(
    () => true,
    () => false,
  )

async function checkLimits(c: Context<TenantApp>): Promise<void> {
  const tenant = c.get('tenantRecord')
  const { createdAt, id, policy } = tenant
  await c
    .get('platform')
    .budgets.refuseIfFull(
      { tenant: id, tenancy: createdAt, limits: limitsOf(policy) },
      accessOf({ tenant, ...readerOf(c) }),
    )
}
