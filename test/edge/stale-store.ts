/** KV as it may be far from where it is written: a key that was read once keeps its value. */
export function staleStore(store: KVNamespace): KVNamespace {
  const seen = new Map<string, unknown>()
  const get = async (key: string, type: 'json'): Promise<unknown> => {
    if (!seen.has(key)) seen.set(key, await store.get(key, type))
    return seen.get(key)
  }
  return withGet(store, get)
}

function withGet(store: KVNamespace, get: (key: string, type: 'json') => Promise<unknown>): KVNamespace {
  return new Proxy(store, {
    get(target, property) {
      const value: unknown = property === 'get' ? get : Reflect.get(target, property)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
}

/** KV that answers late: the first value read under `prefix` arrives, as it was when it was asked, on `release`. */
export function heldStore(store: KVNamespace, prefix: string) {
  const asked = Promise.withResolvers<void>()
  const released = Promise.withResolvers<void>()
  let isHeld = false
  const get = async (key: string, type: 'json'): Promise<unknown> => {
    const value: unknown = await store.get(key, type)
    if (!isHeld && key.startsWith(prefix)) {
      isHeld = true
      asked.resolve()
      await released.promise
    }
    return value
  }
  return { asked: asked.promise, release: () => released.resolve(), store: withGet(store, get) }
}

/** A namespace of objects that cannot be reached. */
export const unreachable = <T extends Rpc.DurableObjectBranded>(
  namespace: DurableObjectNamespace<T>,
): DurableObjectNamespace<T> =>
  withCalls(namespace, () => Promise.reject(new Error('the object cannot be reached')))

/** A namespace of objects whose calls `make` makes, or does not make. */
export function withCalls<T extends Rpc.DurableObjectBranded>(
  namespace: DurableObjectNamespace<T>,
  make: (call: () => Promise<unknown>, method: string) => Promise<unknown>,
): DurableObjectNamespace<T> {
  const object = (stub: object) =>
    new Proxy(stub, {
      get(target, property) {
        const method: unknown = Reflect.get(target, property)
        if (typeof method !== 'function') return method
        return (...values: unknown[]) =>
          make(async () => Reflect.apply(method, target, values), String(property))
      },
    })
  return new Proxy(namespace, {
    get(target, property) {
      const value: unknown = Reflect.get(target, property)
      if (typeof value !== 'function') return value
      return (...values: unknown[]) => {
        const got: unknown = Reflect.apply(value, target, values)
        return property === 'get' && typeof got === 'object' && got !== null ? object(got) : got
      }
    },
  })
}
