import { heartbeatClockSeconds } from '../../shared/heartbeat-token.ts'

/**
 * The edge's clock as its answers tell it: edges' tokens are judged by it, so that a node whose own clock is off by
 * minutes still serves. Without an edge it is the node's own clock.
 */
export class EdgeClock {
  readonly #now: () => number
  #offsetMs = 0

  constructor(now: () => number = Date.now) {
    this.#now = now
  }

  /** Milliseconds since 1970. */
  readonly now = (): number => this.#now() + this.#offsetMs

  /** How far the node's clock is behind; negative when it is ahead. */
  get offsetMs(): number {
    return this.#offsetMs
  }

  /** The edge said it is `time`; the answer to a request that was sent at `askedAt` by the node's own clock. */
  heard(time: number, askedAt: number): void {
    const offset = time - (askedAt + this.#now()) / 2
    this.#offsetMs = Math.abs(offset) <= heartbeatClockSeconds * 1000 ? offset : 0
  }
}
