/** A request to end this process: SIGINT, SIGTERM, SIGHUP, or the end of the npm that started it. */
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
  const watch = process.env.npm_lifecycle_event === undefined ? undefined : onParentGone(listener)
  return {
    signal: controller.signal,
    requested: promise,
    [Symbol.dispose]() {
      clearInterval(watch)
      for (const signal of signals) process.off(signal, listener)
    },
  }
}

const parentCheckMs = 250

/** npm does not pass every signal on, and none when it is killed: an orphan has another parent. */
function onParentGone(listener: () => void): NodeJS.Timeout {
  const parent = process.ppid
  const timer = setInterval(() => {
    if (process.ppid === parent) return
    clearInterval(timer)
    listener()
  }, parentCheckMs)
  return timer.unref()
}
