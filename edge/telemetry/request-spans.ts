import {
  type HistogramKind,
  requestDuration,
  timeToFirstToken,
  tokenUsage,
} from '../../shared/telemetry/histograms.ts'
import type { Attributes, Span } from '../../shared/telemetry/span.ts'
import { newSpanId } from '../../shared/telemetry/trace-context.ts'
import { completionTokens, type NodeAttempt, type RequestReport } from './request-report.ts'

/**
 * A request's spans by OpenTelemetry's conventions for HTTP and `gen_ai`: the request; under it its hops and the
 * generation; under that each call to a node. Names and counts, never text.
 */
export function requestSpans(request: RequestReport): readonly Span[] {
  const { ending, generation, method, parentSpanId, path, route, startedAt, trace } = request
  const end = ending ?? { status: 0, at: startedAt }
  const { spanId, traceId } = trace
  const failed = end.status >= 500 ? request.errorCode : undefined
  const root: Span = {
    traceId,
    spanId,
    ...(parentSpanId === undefined ? {} : { parentSpanId }),
    name: route === undefined ? method : `${method} ${route}`,
    kind: 'server',
    startedAt,
    endedAt: end.at,
    attributes: {
      'http.request.method': method,
      'http.route': route,
      'http.response.status_code': end.status,
      'url.path': path,
      'error.type': request.errorCode,
      'quartet.request.id': request.requestId,
      'quartet.tenant.id': request.caller?.tenant,
      'quartet.key.id': request.caller?.keyId,
    },
    ...(failed === undefined ? {} : { error: failed }),
  }
  const hops = [...request.timings].map(
    ({ endedAt, ms, name }): Span => ({
      traceId,
      spanId: newSpanId(),
      parentSpanId: spanId,
      name,
      kind: 'internal',
      startedAt: Math.max(startedAt, endedAt - ms),
      endedAt,
      attributes: {},
    }),
  )
  if (generation === undefined) return [root, ...hops]
  const generating: Span = {
    traceId,
    spanId: newSpanId(),
    parentSpanId: spanId,
    name: `${generation.operation} ${generation.model}`,
    kind: 'client',
    startedAt: request.attempts[0]?.startedAt ?? startedAt,
    endedAt: end.at,
    attributes: generationAttributes(request),
    events:
      request.firstTokenAt === undefined ? [] : [{ name: 'quartet.first_token', at: request.firstTokenAt }],
    ...(request.errorCode === undefined ? {} : { error: request.errorCode }),
  }
  const under = { parent: generating, end: end.at }
  const attempts = request.attempts.map((attempt) => callSpan(attempt, { ...generateCall, ...under }))
  const pushes = request.pushes.map((push) => callSpan(push, { ...pushCall, ...under }))
  return [root, ...hops, generating, ...attempts, ...pushes]
}

/** Follows https://github.com/open-telemetry/semantic-conventions-genai, but leaves out all attributes with content. */
function generationAttributes(request: RequestReport): Attributes {
  const { attempts, caller, errorCode, firstTokenAt, generation, use } = request
  if (generation === undefined) return {}
  const { choices, sampling, stream } = generation
  const startedAt = attempts[0]?.startedAt
  const firstChunkMs =
    stream && firstTokenAt !== undefined && startedAt !== undefined ? firstTokenAt - startedAt : undefined
  return {
    'gen_ai.operation.name': generation.operation,
    'gen_ai.provider.name': 'quartet',
    'gen_ai.output.type': generation.operation === 'embeddings' ? undefined : 'text',
    'gen_ai.request.model': generation.model,
    'gen_ai.request.stream': stream,
    'gen_ai.request.choice.count': choices === 1 ? undefined : choices,
    'gen_ai.request.max_tokens': generation.maxTokens,
    'gen_ai.request.seed': sampling.seed,
    'gen_ai.request.temperature': sampling.temperature,
    'gen_ai.request.top_p': sampling.topP,
    'gen_ai.request.top_k': sampling.topK === 0 ? undefined : sampling.topK,
    'gen_ai.request.frequency_penalty': sampling.frequencyPenalty,
    'gen_ai.request.presence_penalty': sampling.presencePenalty,
    'gen_ai.response.model': generation.backbone,
    'gen_ai.response.time_to_first_chunk': firstChunkMs === undefined ? undefined : firstChunkMs / 1000,
    'gen_ai.response.finish_reasons': use?.finishReasons.filter((reason) => reason !== undefined),
    'gen_ai.usage.input_tokens': use?.promptTokens,
    'gen_ai.usage.output_tokens': use && completionTokens(use),
    'error.type': errorCode,
    'quartet.adapter.digest': generation.adapter,
    'quartet.tenant.id': caller?.tenant,
    'quartet.attempts': attempts.length,
  }
}

const generateCall = { method: 'POST', path: '/v1/generate' }
const pushCall = { method: 'PUT', path: '/v1/adapters/{digest}' }

function callSpan(
  attempt: NodeAttempt,
  { end, method, parent, path }: { method: string; path: string; parent: Span; end: number },
): Span {
  const { endedAt, error, firstTokenAt, node, spanId, startedAt } = attempt
  const { hostname, port, protocol } = new URL(node.url)
  return {
    traceId: parent.traceId,
    spanId,
    parentSpanId: parent.spanId,
    name: `${method} ${path}`,
    kind: 'client',
    startedAt,
    endedAt: endedAt ?? end,
    attributes: {
      'http.request.method': method,
      'server.address': hostname,
      'server.port': port === '' ? (protocol === 'https:' ? 443 : 80) : Number(port),
      'quartet.node.id': node.id,
      'error.type': error,
    },
    events: firstTokenAt === undefined ? [] : [{ name: 'quartet.first_token', at: firstTokenAt }],
    ...(error === undefined ? {} : { error }),
  }
}

interface Observation {
  readonly kind: HistogramKind
  readonly value: number
  readonly attributes: Attributes
}

/** The observations that a generation adds to the histograms. Labels are bounded: neither tenants nor aliases. */
export function requestMetrics(request: RequestReport): readonly Observation[] {
  const { ending, errorCode, firstTokenAt, generation, startedAt, use } = request
  if (generation === undefined || ending === undefined) return []
  const attributes = {
    'gen_ai.operation.name': generation.operation,
    'gen_ai.provider.name': 'quartet',
    'gen_ai.response.model': generation.backbone,
    'error.type': errorCode,
  }
  const tokens = (type: 'input' | 'output', value: number): Observation => ({
    kind: tokenUsage,
    value,
    attributes: { ...attributes, 'gen_ai.token.type': type },
  })
  return [
    { kind: requestDuration, value: (ending.at - startedAt) / 1000, attributes },
    ...(firstTokenAt === undefined
      ? []
      : [{ kind: timeToFirstToken, value: (firstTokenAt - startedAt) / 1000, attributes }]),
    ...(use === undefined
      ? []
      : [tokens('input', use.promptTokens), tokens('output', completionTokens(use))]),
  ]
}
