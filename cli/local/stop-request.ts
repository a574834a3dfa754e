/** The wish of whoever runs this process that it end: SIGINT, SIGTERM or SIGHUP. */
export interface StopRequest extends Disposable {
  readonly signal: AbortSignal
  /** Resolves with the wish. */
  readonly requested: Promise<void>
}

const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/** Listens for the wish. Every one after the first is an impatient one and calls `onImpatience`. */
export function stopRequest(onImpatience: () => void): StopRequest {
  const controller = new AbortController()
  const { promise, resolve } = Promise.withResolvers<void>()
  const listener = () => {
    if (controller.signal.aborted) return onImpatience()
    controller.abort()
    resolve()
  }
  for (const signal of signals) process.on(signal, listener)
  return {
    signal: controller.signal,
    requested: promise,
    [Symbol.dispose]() {
      for (const signal of signals) process.off(signal, listener)
    },
  }
}
