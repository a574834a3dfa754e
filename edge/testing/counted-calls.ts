import { app } from '../app.ts'
import type { Bindings } from '../env.ts'

/** The worker as it is, with its calls to Durable Objects counted: `GET /bench/calls` answers how many, by binding. */

export { AuditLog } from '../audit/audit-log.ts'
export { TenantBudget } from '../budgets/tenant-budget.ts'
export { TenantDirectory } from '../directory/directory.ts'
export { ChangeFeed } from '../feed/change-feed.ts'
export { NodeRegistry } from '../fleet/node-registry.ts'
export { IdempotentCall } from '../http/idempotent-call.ts'

const calls: Record<string, number> = {}

/** A namespace whose stubs count each call of a method before they make it. */
function counted<T extends Rpc.DurableObjectBranded>(
  name: string,
  namespace: DurableObjectNamespace<T>,
): DurableObjectNamespace<T> {
  calls[name] = 0
  const countedStub = (stub: object) =>
    new Proxy(stub, {
      get(target, property) {
        const method: unknown = Reflect.get(target, property)
        if (typeof method !== 'function') return method
        return (...values: unknown[]) => {
          calls[name] = (calls[name] ?? 0) + 1
          return Reflect.apply(method, target, values)
        }
      },
    })
  return new Proxy(namespace, {
    get(target, property) {
      const value: unknown = Reflect.get(target, property)
      if (typeof value !== 'function') return value
      return (...values: unknown[]) => {
        const got: unknown = Reflect.apply(value, target, values)
        return property === 'get' && typeof got === 'object' && got !== null ? countedStub(got) : got
      }
    },
  })
}

let isolate: Bindings | undefined

function countedBindings(env: Bindings): Bindings {
  return {
    ...env,
    AUDIT: counted('audit', env.AUDIT),
    BUDGETS: counted('budgets', env.BUDGETS),
    FEED: counted('feed', env.FEED),
    IDEMPOTENCY: counted('idempotency', env.IDEMPOTENCY),
    REGISTRY: counted('registry', env.REGISTRY),
    TENANTS: counted('directories', env.TENANTS),
  }
}

export default {
  fetch(request, env, ctx) {
    isolate ??= countedBindings(env)
    if (new URL(request.url).pathname === '/bench/calls') return Response.json(calls)
    return app.fetch(request, isolate, ctx)
  },
} satisfies ExportedHandler<Bindings>
