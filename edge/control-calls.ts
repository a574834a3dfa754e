import { QuartetError } from '../shared/errors.ts'

/**
 * A Durable Object's stub, KV or a bucket, as the worker calls it: a call that fails throws `control_unavailable` with
 * what failed as its cause. Refusals are data (directory/outcome.ts) and pass as they are. The error tells clients that
 * `name` does not answer. The result of a call of `opening` is wrapped likewise.
 */
export function controlCalls<T extends object>(target: T, name: string, opening?: keyof T): T {
  return new Proxy(target, {
    get(object, property) {
      const method: unknown = Reflect.get(object, property)
      if (typeof method !== 'function') return method
      return async (...values: unknown[]): Promise<unknown> => {
        try {
          const given: unknown = await Reflect.apply(method, object, values)
          return property === opening && typeof given === 'object' && given !== null
            ? controlCalls(given, name)
            : given
        } catch (cause) {
          throw new QuartetError('control_unavailable', `${name} does not answer at the moment; retry`, {
            cause,
          })
        }
      }
    },
  })
}
