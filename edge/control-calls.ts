import { QuartetError } from '../shared/errors.ts'

/**
 * A Durable Object's stub, or KV, as the worker calls it: a call that fails throws `control_unavailable` with what
 * failed as its cause. Refusals are data (directory/outcome.ts) and pass as they are. `name` is what clients are told
 * does not answer.
 */
export function controlCalls<T extends object>(target: T, name: string): T {
  return new Proxy(target, {
    get(object, property) {
      const method: unknown = Reflect.get(object, property)
      if (typeof method !== 'function') return method
      return async (...values: unknown[]): Promise<unknown> => {
        try {
          return await Reflect.apply(method, object, values)
        } catch (cause) {
          throw new QuartetError('control_unavailable', `${name} does not answer at the moment; retry`, {
            cause,
          })
        }
      }
    },
  })
}
