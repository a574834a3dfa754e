/**
 * W3C Trace Context (https://www.w3.org/TR/trace-context/): one request's identity from client through edge to node.
 * Ids are lower-case hex.
 */
export interface TraceContext {
  /** 32 digits. */
  readonly traceId: string
  /** 16 digits: the span that what follows belongs to. */
  readonly spanId: string
  /** True if the caller that began the trace wants it recorded. */
  readonly sampled: boolean
  /** `tracestate`: other vendors' positions, passed on as they came. */
  readonly state?: string
}

const shape = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/
const sampledBit = 1
const maxStateLength = 512
const printable = /^[\x20-\x7e]+$/

/** The context that `traceparent` and `tracestate` carry; undefined when they are absent or malformed. */
export function parseTraceContext(
  traceparent: string | null | undefined,
  tracestate?: string | null,
): TraceContext | undefined {
  const match = shape.exec(traceparent ?? '')
  if (match === null) return undefined
  const [, version = '', traceId = '', spanId = '', flags = '', rest] = match
  if (version === 'ff' || (version === '00' && rest !== undefined)) return undefined
  if (/^0+$/.test(traceId) || /^0+$/.test(spanId)) return undefined
  const state =
    tracestate != null && tracestate.length <= maxStateLength && printable.test(tracestate)
      ? { state: tracestate }
      : {}
  return { traceId, spanId, sampled: (Number.parseInt(flags, 16) & sampledBit) !== 0, ...state }
}

/** The headers that hand a context on. */
export function traceHeaders({ sampled, spanId, state, traceId }: TraceContext): Record<string, string> {
  const traceparent = `00-${traceId}-${spanId}-${sampled ? '01' : '00'}`
  return state === undefined ? { traceparent } : { traceparent, tracestate: state }
}

export function newSpanId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(8))
  // All zeros is the one id that is not valid.
  if (bytes.every((byte) => byte === 0)) bytes[7] = 1
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
}

/**
 * Whether a trace of one's own is recorded: its id decides, so that everyone who shares the ratio decides alike.
 * `ratio` lies in 0..1.
 */
export function isSampled(traceId: string, ratio: number): boolean {
  return Number.parseInt(traceId.slice(-8), 16) < ratio * 2 ** 32
}
