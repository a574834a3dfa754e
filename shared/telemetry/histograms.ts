import type { Attributes } from './span.ts'

/** A histogram's name, unit and upper bounds, as the OpenTelemetry semantic conventions have them. */
export interface HistogramKind {
  readonly name: string
  readonly unit: 's' | '{token}'
  readonly description: string
  readonly bounds: readonly number[]
}

const durationBounds = [
  0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92,
]
const tokenBounds = [1, 4, 16, 64, 256, 1024, 4096, 16_384, 65_536, 262_144, 1_048_576]
const firstTokenBounds = [
  0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10,
]

export const requestDuration: HistogramKind = {
  name: 'gen_ai.server.request.duration',
  unit: 's',
  description: 'From the arrival of a request to the end of its answer',
  bounds: durationBounds,
}
export const timeToFirstToken: HistogramKind = {
  name: 'gen_ai.server.time_to_first_token',
  unit: 's',
  description: 'From the arrival of a request to its first token',
  bounds: firstTokenBounds,
}
export const tokenUsage: HistogramKind = {
  name: 'gen_ai.client.token.usage',
  unit: '{token}',
  description: 'Prompt and completion tokens of a request',
  bounds: tokenBounds,
}

/** The observations of one kind with one set of attributes since the last collection. */
export interface HistogramPoint {
  readonly kind: HistogramKind
  readonly attributes: Attributes
  /** One more than there are bounds: the last is what exceeds them all. */
  readonly counts: number[]
  count: number
  sum: number
  min: number
  max: number
}

/** More would be a mistake in the attributes; observations beyond them are counted without attributes. */
const maxPoints = 1_000

/** Histograms with delta temporality: each collection starts them anew. */
export class Histograms {
  #points = new Map<string, HistogramPoint>()

  observe(kind: HistogramKind, value: number, attributes: Attributes): void {
    const key = `${kind.name}\n${JSON.stringify(attributes)}`
    const known = this.#points.get(key)
    const point = known ?? (this.#points.size < maxPoints ? this.#add(key, kind, attributes) : undefined)
    if (point === undefined) {
      if (Object.keys(attributes).length > 0) this.observe(kind, value, {})
      return
    }
    const at = kind.bounds.findIndex((bound) => value <= bound)
    const bucket = at === -1 ? kind.bounds.length : at
    point.counts[bucket] = (point.counts[bucket] ?? 0) + 1
    point.count += 1
    point.sum += value
    point.min = Math.min(point.min, value)
    point.max = Math.max(point.max, value)
  }

  /** The observations since the last call. */
  collect(): readonly HistogramPoint[] {
    const points = [...this.#points.values()]
    this.#points = new Map()
    return points
  }

  #add(key: string, kind: HistogramKind, attributes: Attributes): HistogramPoint {
    const counts = new Array<number>(kind.bounds.length + 1).fill(0)
    const point = { kind, attributes, counts, count: 0, sum: 0, min: Infinity, max: -Infinity }
    this.#points.set(key, point)
    return point
  }
}
