import { z } from 'zod'

/** The messages that an OTLP receiver gets, decoded strictly by the rules of the JSON encoding. */

const Nano = z.string().regex(/^[0-9]{19}$/)
const AttributeValue = z.union([
  z.strictObject({ stringValue: z.string() }).transform(({ stringValue }) => stringValue),
  z.strictObject({ boolValue: z.boolean() }).transform(({ boolValue }) => boolValue),
  z.strictObject({ intValue: z.string().regex(/^-?[0-9]+$/) }).transform(({ intValue }) => Number(intValue)),
  z.strictObject({ doubleValue: z.number() }).transform(({ doubleValue }) => doubleValue),
  z
    .strictObject({
      arrayValue: z.strictObject({ values: z.array(z.strictObject({ stringValue: z.string() })) }),
    })
    .transform(({ arrayValue }) => arrayValue.values.map(({ stringValue }) => stringValue)),
])
const Attributes = z
  .array(z.strictObject({ key: z.string().min(1), value: AttributeValue }))
  .transform((list) => Object.fromEntries(list.map(({ key, value }) => [key, value])))
const Resource = z.strictObject({ attributes: Attributes })
const Scope = z.strictObject({ name: z.string() })
const SpanId = z.string().regex(/^[0-9a-f]{16}$/)

const SpanShape = z.strictObject({
  traceId: z.string().regex(/^[0-9a-f]{32}$/),
  spanId: SpanId,
  parentSpanId: SpanId.optional(),
  name: z.string().min(1),
  kind: z.int().min(1).max(5),
  startTimeUnixNano: Nano,
  endTimeUnixNano: Nano,
  attributes: Attributes,
  events: z.array(z.strictObject({ name: z.string(), timeUnixNano: Nano, attributes: Attributes })),
  status: z.strictObject({ code: z.int().min(0).max(2).optional(), message: z.string().optional() }),
})
const Traces = z.strictObject({
  resourceSpans: z.array(
    z.strictObject({
      resource: Resource,
      scopeSpans: z.array(z.strictObject({ scope: Scope, spans: z.array(SpanShape) })),
    }),
  ),
})
const Metrics = z.strictObject({
  resourceMetrics: z.array(
    z.strictObject({
      resource: Resource,
      scopeMetrics: z.array(
        z.strictObject({
          scope: Scope,
          metrics: z.array(
            z.strictObject({
              name: z.string(),
              description: z.string(),
              unit: z.string(),
              histogram: z.strictObject({
                aggregationTemporality: z.literal(1),
                dataPoints: z.array(
                  z.strictObject({
                    attributes: Attributes,
                    startTimeUnixNano: Nano,
                    timeUnixNano: Nano,
                    count: z.string(),
                    sum: z.number(),
                    min: z.number(),
                    max: z.number(),
                    bucketCounts: z.array(z.string()),
                    explicitBounds: z.array(z.number()),
                  }),
                ),
              }),
            }),
          ),
        }),
      ),
    }),
  ),
})

export type ReceivedSpan = z.output<typeof SpanShape> & {
  readonly service: unknown
  readonly instance: unknown
}
export interface ReceivedPoint {
  readonly name: string
  readonly attributes: Readonly<Record<string, unknown>>
  readonly count: number
  readonly sum: number
}
export interface Received {
  readonly spans: readonly ReceivedSpan[]
  readonly points: readonly ReceivedPoint[]
  /** Bodies that were not OTLP. */
  readonly refused: readonly string[]
  /** Every body, as it came. */
  readonly bodies: readonly string[]
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
}

export interface ReceiverBehaviour {
  /** Answers with this instead of taking anything. */
  readonly status?: number
  /** The other signal is taken nonetheless. */
  readonly refuses?: 'traces' | 'metrics'
  /** Milliseconds before it answers. */
  readonly delayMs?: number
}

export function spansOf(body: unknown): ReceivedSpan[] {
  return Traces.parse(body).resourceSpans.flatMap(({ resource, scopeSpans }) =>
    scopeSpans.flatMap(({ spans }) =>
      spans.map((span) => ({
        ...span,
        service: resource.attributes['service.name'],
        instance: resource.attributes['service.instance.id'],
      })),
    ),
  )
}

export function pointsOf(body: unknown): ReceivedPoint[] {
  return Metrics.parse(body)
    .resourceMetrics.flatMap(({ scopeMetrics }) => scopeMetrics.flatMap(({ metrics }) => metrics))
    .flatMap(({ histogram, name }) =>
      histogram.dataPoints.map(({ attributes, bucketCounts, count, explicitBounds, sum }) => {
        const inBuckets = bucketCounts.reduce((total, bucket) => total + Number(bucket), 0)
        if (bucketCounts.length !== explicitBounds.length + 1 || inBuckets !== Number(count))
          throw new Error(`${name}: the buckets do not add up`)
        return { name, attributes, count: Number(count), sum }
      }),
    )
}
