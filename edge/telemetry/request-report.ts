import type { ErrorCode } from '../../shared/errors.ts'
import type { BackboneSlug, KeyId, RequestId, TenantId } from '../../shared/ids.ts'
import { preciseNow } from '../../shared/telemetry/span.ts'
import {
  isSampled,
  newSpanId,
  parseTraceContext,
  type TraceContext,
  traceHeaders,
} from '../../shared/telemetry/trace-context.ts'
import type { Sampling } from '../../shared/wire.ts'
import { HopTimings } from './server-timing.ts'

export interface Caller {
  readonly tenant: TenantId
  readonly keyId: KeyId
}

/** The parameters and names of a generation, never its text. */
export interface GenerationFacts {
  readonly operation: 'chat' | 'text_completion' | 'embeddings'
  /** The name that the client used. */
  readonly model: string
  readonly backbone: BackboneSlug
  /** Digests, as `x-quartet-adapter` has them. */
  readonly adapter: string
  readonly stream: boolean
  readonly choices: number
  readonly maxTokens: number
  readonly sampling: Sampling
}

/** The usage of a generation so far. */
export interface GenerationUse {
  readonly promptTokens: number
  /** One entry for each choice. */
  readonly tokens: readonly number[]
  /** One entry for each choice that has ended. */
  readonly finishReasons: readonly string[]
}

export const completionTokens = ({ tokens }: GenerationUse): number =>
  tokens.reduce((sum, count) => sum + count, 0)

/** One call to a node on behalf of the request. Times are milliseconds since 1970. */
export class NodeAttempt {
  readonly node: { readonly id: string; readonly url: string }
  readonly spanId: string
  readonly startedAt = preciseNow()
  #endedAt: number | undefined
  #firstTokenAt: number | undefined
  #error: string | undefined

  constructor(node: NodeAttempt['node'], spanId: string) {
    this.node = node
    this.spanId = spanId
  }

  get endedAt(): number | undefined {
    return this.#endedAt
  }

  get firstTokenAt(): number | undefined {
    return this.#firstTokenAt
  }

  /** A code; undefined while and when nothing went wrong. */
  get error(): string | undefined {
    return this.#error
  }

  /** Events arrived: the first time, the first token did. */
  token(): void {
    this.#firstTokenAt ??= preciseNow()
  }

  /** The first call counts. */
  end(error?: string): void {
    if (this.#endedAt !== undefined) return
    this.#endedAt = preciseNow()
    this.#error = error
  }
}

interface TracedCall {
  readonly attempt: NodeAttempt
  readonly headers: Record<string, string>
}

export interface ReportOptions {
  readonly request: Request
  readonly requestId: RequestId
  readonly telemetry: { readonly on: boolean; readonly ratio: number }
}

/** The facts that become known of a request on its way; its end tells the access log and the trace. */
export class RequestReport {
  readonly requestId: RequestId
  readonly method: string
  readonly path: string
  readonly startedAt = preciseNow()
  readonly timings = new HopTimings()
  readonly attempts: NodeAttempt[] = []
  /** Adapters that this request brought to nodes. */
  readonly pushes: NodeAttempt[] = []
  /** This request's place in its trace; later spans hang under its span. */
  readonly trace: TraceContext
  /** The caller's span, when it sent one. */
  readonly parentSpanId: string | undefined
  readonly isProbe: boolean
  /** Whether its spans are kept. */
  readonly isRecorded: boolean
  caller: Caller | undefined
  generation: GenerationFacts | undefined
  /** Fields of the request that had no effect. */
  ignored: readonly string[] | undefined
  use: GenerationUse | undefined
  errorCode: ErrorCode | undefined
  /** The route's pattern. */
  route: string | undefined
  /** Its answer goes on after the handler has returned. */
  isStreaming = false
  #end: { readonly status: number; readonly at: number } | undefined
  readonly #over = Promise.withResolvers<void>()

  constructor({ request, requestId, telemetry }: ReportOptions) {
    const { headers, method, url } = request
    this.requestId = requestId
    this.method = method
    this.path = pathOf(url)
    const parent = parseTraceContext(headers.get('traceparent'), headers.get('tracestate'))
    const traceId = parent?.traceId ?? requestId.slice('req_'.length)
    const sampled = parent?.sampled ?? isSampled(traceId, telemetry.ratio)
    this.isProbe = probes.has(this.path)
    this.isRecorded = sampled && telemetry.on && !(this.isProbe && parent === undefined)
    this.parentSpanId = parent?.spanId
    // Without spans of its own the caller's span is what the node's spans hang under.
    const spanId = this.isRecorded ? newSpanId() : (parent?.spanId ?? newSpanId())
    this.trace = { traceId, spanId, sampled, ...(parent?.state === undefined ? {} : { state: parent.state }) }
  }

  /** A call to a node begins; gives the headers that put the node's spans under it. */
  attempt(node: NodeAttempt['node']): TracedCall {
    return this.#call(node, this.attempts)
  }

  /** The same for a push. */
  push(node: NodeAttempt['node']): TracedCall {
    return this.#call(node, this.pushes)
  }

  #call(node: NodeAttempt['node'], calls: NodeAttempt[]): TracedCall {
    const spanId = this.isRecorded ? newSpanId() : this.trace.spanId
    const attempt = new NodeAttempt(node, spanId)
    calls.push(attempt)
    return {
      attempt,
      headers: { 'x-request-id': this.requestId, ...traceHeaders({ ...this.trace, spanId }) },
    }
  }

  /** The first token of the attempts that answered, if any did; in milliseconds since 1970. */
  get firstTokenAt(): number | undefined {
    const sound = this.attempts.filter(({ error }) => error === undefined)
    const answering = sound.length > 0 ? sound : this.attempts
    const times = answering.flatMap(({ firstTokenAt }) => firstTokenAt ?? [])
    return times.length === 0 ? undefined : Math.min(...times)
  }

  /** Status and end; the request is still running while it has none. */
  get ending(): { readonly status: number; readonly at: number } | undefined {
    return this.#end
  }

  /** Resolves when the request is over, on whichever path. */
  get over(): Promise<void> {
    return this.#over.promise
  }

  /** The first call counts. */
  end(status: number): void {
    this.#end ??= { status, at: preciseNow() }
    this.#over.resolve()
  }
}

const maxPathLength = 256
/** Routes that machines ask all the time: they are logged only where they fail. */
const probes: ReadonlySet<string> = new Set(['/health', '/fleet/v1/heartbeat'])
/** A key that someone put into a path by mistake must not reach a log. */
const keyLike = /qk_[0-9A-Za-z]+/g

function pathOf(url: string): string {
  const start = url.indexOf('/', url.indexOf('//') + 2)
  const query = url.indexOf('?', start)
  const path = start === -1 ? '/' : url.slice(start, query === -1 ? undefined : query)
  return path.slice(0, maxPathLength).replaceAll(keyLike, 'qk_…')
}
