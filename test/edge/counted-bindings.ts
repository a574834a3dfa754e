import type { Bindings } from '../../edge/platform.ts'
import { withCalls } from './stale-store.ts'

type Counted = 'AUDIT' | 'BUDGETS' | 'FEED' | 'IDEMPOTENCY' | 'REGISTRY' | 'STORE' | 'TENANTS'

export interface CountedBindings {
  readonly bindings: Bindings
  /** Calls so far of KV, and of Durable Objects' methods, by binding. */
  readonly calls: Readonly<Record<Counted, number>>
}

/** The same bindings, with each call counted before it is made. */
export function countedBindings(env: Bindings): CountedBindings {
  const calls = { AUDIT: 0, BUDGETS: 0, FEED: 0, IDEMPOTENCY: 0, REGISTRY: 0, STORE: 0, TENANTS: 0 }
  const namespace = <T extends Rpc.DurableObjectBranded>(name: Counted, objects: DurableObjectNamespace<T>) =>
    withCalls(objects, (call) => {
      calls[name] += 1
      return call()
    })
  const store = new Proxy(env.STORE, {
    get(target, property) {
      const method: unknown = Reflect.get(target, property)
      if (typeof method !== 'function') return method
      return (...values: unknown[]) => {
        calls.STORE += 1
        return Reflect.apply(method, target, values)
      }
    },
  })
  return {
    calls,
    bindings: {
      ...env,
      AUDIT: namespace('AUDIT', env.AUDIT),
      BUDGETS: namespace('BUDGETS', env.BUDGETS),
      FEED: namespace('FEED', env.FEED),
      IDEMPOTENCY: namespace('IDEMPOTENCY', env.IDEMPOTENCY),
      REGISTRY: namespace('REGISTRY', env.REGISTRY),
      STORE: store,
      TENANTS: namespace('TENANTS', env.TENANTS),
    },
  }
}
