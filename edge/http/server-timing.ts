/**
 * Milliseconds spent in one hop. Deployed Workers stop the clock between I/O, so there a hop that only computes
 * reads as 0; locally the figures are real.
 */
export interface Timing {
  readonly name: 'auth' | 'tokenize' | 'route' | 'node'
  readonly ms: number
}

/** A `Server-Timing` header (W3C Server Timing). */
export function serverTiming(timings: readonly Timing[]): string {
  return timings.map(({ name, ms }) => `${name};dur=${ms.toFixed(2)}`).join(', ')
}
