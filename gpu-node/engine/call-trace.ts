/** A call's place in the trace that the edge handed on. */
export interface CallTrace {
  readonly traceId: string
  /** The id of the span that the node records for the call. */
  readonly spanId: string
  readonly parentSpanId?: string
}
