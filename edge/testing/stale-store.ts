/** KV as it may be far from where it is written: what was read of a key once stays as it was. */
export function staleStore(store: KVNamespace): KVNamespace {
  const seen = new Map<string, unknown>()
  const get = async (key: string, type: 'json'): Promise<unknown> => {
    if (!seen.has(key)) seen.set(key, await store.get(key, type))
    return seen.get(key)
  }
  return new Proxy(store, {
    get(target, property) {
      const value: unknown = property === 'get' ? get : Reflect.get(target, property)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
}

/** A namespace of objects that cannot be reached. */
export function unreachable<T extends Rpc.DurableObjectBranded>(
  namespace: DurableObjectNamespace<T>,
): DurableObjectNamespace<T> {
  const fail = () => Promise.reject(new Error('the object cannot be reached'))
  return new Proxy(namespace, {
    get(target, property) {
      if (property === 'get') return () => new Proxy({}, { get: () => fail })
      const value: unknown = Reflect.get(target, property)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
}
