import type { HistogramPoint } from './histograms.ts'
import type { Attributes, AttributeValue, Span } from './span.ts'

/**
 * OTLP/HTTP with JSON (https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding): ids in hex, 64-bit numbers
 * as strings, enums as numbers.
 */

export interface Resource {
  readonly service: string
  readonly version: string
  /** Names the process of the service. */
  readonly instance: string
}

const kinds = { internal: 1, server: 2, client: 3 } as const satisfies Record<Span['kind'], number>
const statusError = 2
const deltaTemporality = 1

/** The body of `POST {endpoint}/v1/traces`: an ExportTraceServiceRequest. */
export function encodeTraces(resource: Resource, spans: readonly Span[]): string {
  return JSON.stringify({
    resourceSpans: [
      { resource: encodeResource(resource), scopeSpans: [{ scope, spans: spans.map(encodeSpan) }] },
    ],
  })
}

/** The body of `POST {endpoint}/v1/metrics`: an ExportMetricsServiceRequest over the time between the two. */
export function encodeMetrics(
  resource: Resource,
  { from, points, to }: { points: readonly HistogramPoint[]; from: number; to: number },
): string {
  const metrics = [...Map.groupBy(points, ({ kind }) => kind)].map(([{ description, name, unit }, of]) => ({
    name,
    description,
    unit,
    histogram: {
      aggregationTemporality: deltaTemporality,
      dataPoints: of.map(({ attributes, count, counts, kind, max, min, sum }) => ({
        attributes: encodeAttributes(attributes),
        startTimeUnixNano: nanoseconds(from),
        timeUnixNano: nanoseconds(to),
        count: String(count),
        sum,
        min,
        max,
        bucketCounts: counts.map(String),
        explicitBounds: kind.bounds,
      })),
    },
  }))
  return JSON.stringify({
    resourceMetrics: [{ resource: encodeResource(resource), scopeMetrics: [{ scope, metrics }] }],
  })
}

const scope = { name: 'quartet' }

function encodeResource({ instance, service, version }: Resource) {
  return {
    attributes: encodeAttributes({
      'service.name': service,
      'service.version': version,
      'service.instance.id': instance,
    }),
  }
}

function encodeSpan(span: Span) {
  const {
    attributes,
    endedAt,
    error,
    events = [],
    kind,
    name,
    parentSpanId,
    spanId,
    startedAt,
    traceId,
  } = span
  return {
    traceId,
    spanId,
    ...(parentSpanId === undefined ? {} : { parentSpanId }),
    name,
    kind: kinds[kind],
    startTimeUnixNano: nanoseconds(startedAt),
    endTimeUnixNano: nanoseconds(Math.max(startedAt, endedAt)),
    attributes: encodeAttributes(attributes),
    events: events.map((event) => ({
      name: event.name,
      timeUnixNano: nanoseconds(event.at),
      attributes: encodeAttributes(event.attributes ?? {}),
    })),
    status: error === undefined ? {} : { code: statusError, message: error },
  }
}

function encodeAttributes(attributes: Attributes) {
  return Object.entries(attributes).flatMap(([key, value]) =>
    value === undefined ? [] : [{ key, value: encodeValue(value) }],
  )
}

function encodeValue(value: AttributeValue) {
  if (typeof value === 'string') return { stringValue: value }
  if (typeof value === 'boolean') return { boolValue: value }
  if (typeof value === 'number')
    return Number.isSafeInteger(value) ? { intValue: String(value) } : { doubleValue: value }
  return { arrayValue: { values: value.map((stringValue) => ({ stringValue })) } }
}

/** Nanoseconds since 1970 as decimal digits: a number holds them only to about 200 ns. */
function nanoseconds(ms: number): string {
  const whole = Math.floor(ms)
  return `${whole}${String(Math.floor((ms - whole) * 1e6)).padStart(6, '0')}`
}
