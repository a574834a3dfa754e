import { preciseNow } from '../../shared/telemetry/span.ts'

/**
 * Milliseconds spent in one hop. Deployed Workers stop the clock between I/O, so there a hop that only computes
 * reads as 0; locally the figures are real.
 */
export interface Timing {
  readonly name: 'auth' | 'resolve' | 'tokenize' | 'reserve' | 'route' | 'node'
  readonly ms: number
}

/** A hop that is over, with its end in milliseconds since 1970. */
export interface Hop extends Timing {
  readonly endedAt: number
}

/** The hops of a request in the order in which they ended. */
export class HopTimings implements Iterable<Hop> {
  readonly #hops: Hop[] = []

  /** Records a hop that ended now. */
  push({ ms, name }: Timing): void {
    this.#hops.push({ name, ms, endedAt: preciseNow() })
  }

  [Symbol.iterator](): Iterator<Hop> {
    return this.#hops[Symbol.iterator]()
  }
}

/** A `Server-Timing` header (W3C Server Timing). */
export function serverTiming(timings: Iterable<Timing>): string {
  return [...timings].map(({ name, ms }) => `${name};dur=${ms.toFixed(2)}`).join(', ')
}
