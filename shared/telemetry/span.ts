export type AttributeValue = string | number | boolean | readonly string[]
/** Undefined values are left out. */
export type Attributes = Readonly<Record<string, AttributeValue | undefined>>

/** A finished span. Never holds a prompt, a completion or a secret. Times are milliseconds since 1970. */
export interface Span {
  readonly traceId: string
  readonly spanId: string
  readonly parentSpanId?: string
  readonly name: string
  readonly kind: 'internal' | 'server' | 'client'
  readonly startedAt: number
  readonly endedAt: number
  readonly attributes: Attributes
  readonly events?: readonly SpanEvent[]
  /** The failure; absent when there was none. */
  readonly error?: string
}

interface SpanEvent {
  readonly name: string
  readonly at: number
  readonly attributes?: Attributes
}

/** Milliseconds since 1970 with a fraction, by the clock that only goes forward. */
export const preciseNow = (): number => performance.timeOrigin + performance.now()
