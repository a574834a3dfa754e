import type { Log } from '../../shared/log.ts'
import { OtlpExporter } from '../../shared/telemetry/exporter.ts'
import type { TelemetrySettings } from '../../shared/telemetry/settings.ts'
import { version } from '../../shared/version.ts'
import type { RequestReport } from './request-report.ts'
import { requestMetrics, requestSpans } from './request-spans.ts'

/** Spans of several requests leave together; this long after the first of them. */
const collectMs = 500
/** A flush that was to come and did not, as its request's context ended first, is forgotten after this. */
const forgottenMs = 10_000
const mostEnded = 256

/** Keeps work going when the answer is gone. */
type Background = (work: Promise<unknown>) => void

/** An isolate's way out for traces and metrics; nothing of it waits in a request's path. */
export class Telemetry {
  /** Share of the traces that begin here which are recorded. */
  readonly ratio: number
  readonly #exporter: OtlpExporter | undefined
  /** Requests that are over, until their spans are made: off the path of any request. */
  #ended: RequestReport[] = []
  #flushDueSince = 0

  constructor({ endpoint, headers, ratio }: TelemetrySettings, log: Log) {
    this.ratio = ratio
    if (endpoint === undefined) return
    this.#exporter = new OtlpExporter({
      endpoint,
      headers,
      // Isolates count apart from each other.
      resource: { service: 'quartet-edge', version, instance: crypto.randomUUID() },
      onChange: ({ dropped, failing, reason, signal }) =>
        log(failing ? 'warn' : 'info', failing ? 'telemetry_failing' : 'telemetry_works', {
          signal,
          reason,
          dropped,
        }),
    })
  }

  /** Whether anything is exported at all. */
  get on(): boolean {
    return this.#exporter !== undefined
  }

  /** Takes a request that is over. */
  ended(request: RequestReport, background: Background): void {
    const exporter = this.#exporter
    if (exporter === undefined) return
    this.#ended.push(request)
    if (this.#ended.length >= mostEnded) this.#collect(exporter)
    const now = Date.now()
    if (now - this.#flushDueSince < forgottenMs) return
    this.#flushDueSince = now
    background(this.#flushLater(exporter))
  }

  async #flushLater(exporter: OtlpExporter): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve, collectMs))
    this.#flushDueSince = 0
    this.#collect(exporter)
    await exporter.flush()
  }

  #collect(exporter: OtlpExporter): void {
    const ended = this.#ended
    this.#ended = []
    for (const request of ended) {
      for (const { attributes, kind, value } of requestMetrics(request))
        exporter.observe(kind, value, attributes)
      if (request.isRecorded) exporter.add(requestSpans(request))
    }
  }
}
