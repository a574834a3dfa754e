import { setTimeout as delay } from 'node:timers/promises'
import type { RequestId } from '../../shared/ids.ts'
import type { Log } from '../../shared/log.ts'
import { OtlpExporter } from '../../shared/telemetry/exporter.ts'
import type { TelemetrySettings } from '../../shared/telemetry/settings.ts'
import { preciseNow, type Span } from '../../shared/telemetry/span.ts'
import { isSampled, newSpanId, parseTraceContext } from '../../shared/telemetry/trace-context.ts'
import { version } from '../../shared/version.ts'
import { adaptersOf } from '../../shared/wire.ts'
import type { CallTrace } from '../engine/call-trace.ts'
import type { EndedRequest } from '../engine/reports.ts'

const flushMs = 1_000
const lastFlushMs = 1_000

export interface CallOutcome {
  readonly requestId: RequestId
  readonly method: string
  /** The route's pattern. */
  readonly route: string
  readonly status: number
  /** Milliseconds since 1970. */
  readonly startedAt: number
  readonly error: string | undefined
}

/** The node's spans on their way to an OTLP receiver, in the background; does nothing without an endpoint. */
export class Tracing {
  readonly #exporter: OtlpExporter | undefined
  readonly #ratio: number
  readonly #timer: ReturnType<typeof setInterval> | undefined

  constructor(
    { endpoint, headers, ratio }: TelemetrySettings,
    { instance, log }: { instance: string; log: Log },
  ) {
    this.#ratio = ratio
    if (endpoint === undefined) return
    const exporter = new OtlpExporter({
      endpoint,
      headers,
      resource: { service: 'quartet-node', version, instance },
      onChange: ({ dropped, failing, reason, signal }) =>
        log(failing ? 'warn' : 'info', failing ? 'telemetry_failing' : 'telemetry_works', {
          signal,
          reason,
          dropped,
        }),
    })
    this.#exporter = exporter
    this.#timer = setInterval(() => {
      exporter.flush().catch(() => undefined)
    }, flushMs).unref()
  }

  /** The trace of a call that is recorded: as its caller says, else as the ratio does. */
  arrived({ headers, url }: Pick<Request, 'headers' | 'url'>, requestId: RequestId): CallTrace | undefined {
    if (this.#exporter === undefined) return undefined
    const parent = parseTraceContext(headers.get('traceparent'))
    // Probes and scrapes begin no traces.
    if (parent === undefined && !new URL(url).pathname.startsWith('/v1/')) return undefined
    const traceId = parent?.traceId ?? requestId.slice('req_'.length)
    if (!(parent?.sampled ?? isSampled(traceId, this.#ratio))) return undefined
    const spanId = newSpanId()
    return parent === undefined ? { traceId, spanId } : { traceId, spanId, parentSpanId: parent.spanId }
  }

  /** A generation that the engine took has ended. */
  generated(report: EndedRequest): void {
    const { trace } = report.engineRequest
    if (trace !== undefined) this.#exporter?.add(generationSpans(report, trace))
  }

  /** Any other call, and a generation that was refused. */
  called(call: CallOutcome, trace: CallTrace | undefined): void {
    if (trace !== undefined) this.#exporter?.add([callSpan(call, trace)])
  }

  /** Sends what is left, as far as the receiver takes it in time. */
  async close(): Promise<void> {
    clearInterval(this.#timer)
    await Promise.race([this.#exporter?.flush(), delay(lastFlushMs, undefined, { ref: false })])
  }
}

function callSpan(
  { error, method, route, requestId, startedAt, status }: CallOutcome,
  trace: CallTrace,
): Span {
  return {
    ...trace,
    name: `${method} ${route}`,
    kind: 'server',
    startedAt,
    endedAt: preciseNow(),
    attributes: {
      'http.request.method': method,
      'http.route': route,
      'http.response.status_code': status,
      'error.type': error,
      'quartet.request.id': requestId,
    },
    ...(error === undefined || status < 500 ? {} : { error }),
  }
}

/** The call, and under it where its time went: the queue, the prefill, the decode. */
function generationSpans(report: EndedRequest, trace: CallTrace): readonly Span[] {
  const { outcome, engineRequest, timings, usage } = report
  const { request, tenant } = engineRequest
  const endedAt = preciseNow()
  const startedAt = endedAt - timings.queueMs - timings.prefillMs - timings.decodeMs
  const admittedAt = startedAt + timings.queueMs
  const firstTokenAt = admittedAt + timings.prefillMs
  const failed = outcome === 'stop' || outcome === 'length' ? undefined : outcome
  const hasToken = usage.completionTokens > 0
  const phase = (name: string, from: number, to: number): Span => ({
    traceId: trace.traceId,
    spanId: newSpanId(),
    parentSpanId: trace.spanId,
    name,
    kind: 'internal',
    startedAt: from,
    endedAt: to,
    attributes: {},
  })
  return [
    {
      ...trace,
      name: 'POST /v1/generate',
      kind: 'server',
      startedAt,
      endedAt,
      attributes: {
        'http.request.method': 'POST',
        'http.route': '/v1/generate',
        'gen_ai.operation.name': 'generate_content',
        'gen_ai.provider.name': 'quartet',
        'gen_ai.request.max_tokens': request.maxTokens,
        'gen_ai.request.temperature': request.sampling.temperature,
        'gen_ai.usage.input_tokens': usage.promptTokens,
        'gen_ai.usage.output_tokens': usage.completionTokens,
        'gen_ai.response.finish_reasons': failed === undefined ? [outcome] : undefined,
        'error.type': failed,
        'quartet.request.id': request.requestId,
        'quartet.adapter.digest': adaptersOf(request).join(', ') || 'none',
        'quartet.backbone.digest': request.backbone,
        'quartet.tenant.id': tenant,
      },
      events: hasToken ? [{ name: 'quartet.first_token', at: firstTokenAt }] : [],
      ...(failed === undefined ? {} : { error: failed }),
    },
    phase('queue', startedAt, admittedAt),
    ...(timings.prefillMs > 0 ? [phase('prefill', admittedAt, firstTokenAt)] : []),
    ...(hasToken ? [phase('decode', firstTokenAt, endedAt)] : []),
  ]
}
