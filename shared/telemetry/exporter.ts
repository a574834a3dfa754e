import { throughClosedConnections } from '../closed-connection.ts'
import { BackOff } from './back-off.ts'
import { type HistogramKind, Histograms } from './histograms.ts'
import { encodeMetrics, encodeTraces, type Resource } from './otlp.ts'
import type { Attributes, Span } from './span.ts'

type ExportSignal = 'traces' | 'metrics'

export interface ExporterOptions {
  readonly endpoint: string
  readonly headers: Readonly<Record<string, string>>
  readonly resource: Resource
  /** Called once when exports of a signal begin to fail, and once when they work again. */
  readonly onChange?: (state: {
    readonly signal: ExportSignal
    readonly failing: boolean
    readonly reason?: string
    readonly dropped: number
  }) => void
}

/** Spans kept for the next export; more are dropped, so that a receiver that is down costs bounded memory. */
const maxQueued = 2_048
const maxBatch = 512
const timeoutMs = 5_000
const longestFlushMs = 4 * timeoutMs

/**
 * Spans and histograms on their way to an OTLP/HTTP receiver: collected in memory, sent by `flush`, which whoever owns
 * the exporter calls in the background. Nothing here throws or waits in a request's path. A receiver that refuses one
 * signal does not keep it from the other.
 */
export class OtlpExporter {
  readonly #options: ExporterOptions
  readonly #histograms = new Histograms()
  readonly #backOffs: Readonly<Record<ExportSignal, BackOff>> = {
    traces: new BackOff(),
    metrics: new BackOff(),
  }
  #spans: Span[] = []
  #since = Date.now()
  #dropped = 0
  /** Until when a flush may be under way; one whose isolate's request died never says that it ended. */
  #sendingUntil = 0

  constructor(options: ExporterOptions) {
    this.#options = options
  }

  /** Spans that could not be kept or sent since the start. */
  get dropped(): number {
    return this.#dropped
  }

  add(spans: readonly Span[]): void {
    const room = Math.max(0, maxQueued - this.#spans.length)
    this.#spans.push(...spans.slice(0, room))
    this.#dropped += Math.max(0, spans.length - room)
  }

  observe(kind: HistogramKind, value: number, attributes: Attributes): void {
    this.#histograms.observe(kind, value, attributes)
  }

  /** Sends what there is; after a failure of a signal not before its back-off is over. Never rejects. */
  async flush(): Promise<void> {
    const now = Date.now()
    if (now < this.#sendingUntil) return
    this.#sendingUntil = now + longestFlushMs
    try {
      await Promise.all([
        this.#send('traces', async () => {
          while (this.#spans.length > 0) await this.#sendSpans()
        }),
        this.#send('metrics', () => this.#sendHistograms()),
      ])
    } finally {
      this.#sendingUntil = 0
    }
  }

  async #send(signal: ExportSignal, work: () => Promise<void>): Promise<void> {
    const backOff = this.#backOffs[signal]
    if (backOff.isResting) return
    try {
      await work()
      if (backOff.succeeded()) this.#options.onChange?.({ signal, failing: false, dropped: this.#dropped })
    } catch (thrown) {
      if (!backOff.failed()) return
      const reason = thrown instanceof Error ? thrown.message : String(thrown)
      this.#options.onChange?.({ signal, failing: true, reason, dropped: this.#dropped })
    }
  }

  async #sendSpans(): Promise<void> {
    const batch = this.#spans.slice(0, maxBatch)
    this.#spans = this.#spans.slice(maxBatch)
    try {
      await this.#post('traces', encodeTraces(this.#options.resource, batch))
    } catch (thrown) {
      if (!isLasting(thrown)) this.#spans = [...batch, ...this.#spans].slice(0, maxQueued)
      else this.#dropped += batch.length
      throw thrown
    }
  }

  async #sendHistograms(): Promise<void> {
    const points = this.#histograms.collect()
    const from = this.#since
    this.#since = Date.now()
    if (points.length > 0)
      await this.#post('metrics', encodeMetrics(this.#options.resource, { points, from, to: this.#since }))
  }

  async #post(signal: ExportSignal, body: string): Promise<void> {
    const response = await throughClosedConnections(() =>
      fetch(`${this.#options.endpoint}/v1/${signal}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...this.#options.headers },
        body,
        redirect: 'manual',
        signal: AbortSignal.timeout(timeoutMs),
      }),
    )
    await response.body?.cancel()
    if (!response.ok) throw new ExportRefused(signal, response.status)
  }
}

class ExportRefused extends Error {
  readonly status: number
  constructor(signal: string, status: number) {
    super(`the receiver answered ${status} to ${signal}`)
    this.status = status
  }
}

/** OTLP: 429, 502, 503 and 504 may be sent again, as may what never arrived; another refusal would come again. */
const retryable: ReadonlySet<number> = new Set([429, 502, 503, 504])
const isLasting = (thrown: unknown) => thrown instanceof ExportRefused && !retryable.has(thrown.status)
