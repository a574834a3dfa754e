import type { Bindings } from '../env.ts'

type Counted = 'AUDIT' | 'BUDGETS' | 'FEED' | 'IDEMPOTENCY' | 'REGISTRY' | 'STORE' | 'TENANTS'

export interface CountedBindings {
  readonly bindings: Bindings
  /** Calls so far of KV, and of Durable Objects' methods, by binding. */
  readonly calls: Readonly<Record<Counted, number>>
}

/** The same bindings, with each call counted before it is made. */
export function countedBindings(env: Bindings): CountedBindings {
  const calls = { AUDIT: 0, BUDGETS: 0, FEED: 0, IDEMPOTENCY: 0, REGISTRY: 0, STORE: 0, TENANTS: 0 }
  const counted = <T extends object>(name: Counted, target: T): T =>
    intercepted(target, ({ make }) => {
      calls[name] += 1
      return make()
    })
  const namespace = <T extends Rpc.DurableObjectBranded>(name: Counted, objects: DurableObjectNamespace<T>) =>
    intercepted(objects, ({ make, property }) => {
      const result = make()
      return property === 'get' && typeof result === 'object' && result !== null
        ? counted(name, result)
        : result
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
      STORE: counted('STORE', env.STORE),
      TENANTS: namespace('TENANTS', env.TENANTS),
    },
  }
}

/** The same object, whose methods are called by `call`. */
function intercepted<T extends object>(
  target: T,
  call: (method: { property: PropertyKey; make: () => unknown }) => unknown,
): T {
  return new Proxy(target, {
    get(_, property) {
      const method: unknown = Reflect.get(target, property)
      if (typeof method !== 'function') return method
      return (...values: unknown[]) => call({ property, make: () => Reflect.apply(method, target, values) })
    },
  })
}
