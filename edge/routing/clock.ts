/** Time as routing sees it: an isolate's own, or that of a simulated fleet (bench/fleet). */
export interface Clock {
  /** Milliseconds since 1970. */
  readonly now: () => number
  /** Returns what cancels it. */
  readonly after: (ms: number, run: () => void) => () => void
}

export const isolateClock: Clock = {
  now: () => Date.now(),
  after(ms, run) {
    const timer = setTimeout(run, ms)
    return () => clearTimeout(timer)
  },
}
