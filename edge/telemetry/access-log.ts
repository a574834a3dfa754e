import type { Log } from '../../shared/log.ts'
import { completionTokens, type RequestReport } from './request-report.ts'

const tenth = (ms: number) => Math.round(ms * 10) / 10

/** One line per request: who asked what of whom, how long it took, what it used. Probes that succeed only at `debug`. */
export function logAccess(log: Log, request: RequestReport): void {
  const { attempts, caller, ending, errorCode, firstTokenAt, generation, ignored, startedAt, trace, use } =
    request
  if (ending === undefined) return
  log(request.isProbe && ending.status < 400 ? 'debug' : 'info', 'request', {
    requestId: request.requestId,
    traceId: trace.traceId,
    method: request.method,
    path: request.path,
    status: ending.status,
    code: errorCode,
    ms: tenth(ending.at - startedAt),
    tenant: caller?.tenant,
    keyId: caller?.keyId,
    model: generation?.model,
    adapter: generation?.adapter,
    ignored: ignored?.join(','),
    node: attempts.findLast(({ error }) => error === undefined)?.node.id,
    attempts: generation === undefined ? undefined : attempts.length,
    firstTokenMs: firstTokenAt === undefined ? undefined : tenth(firstTokenAt - startedAt),
    promptTokens: use?.promptTokens,
    completionTokens: use && completionTokens(use),
    finish: use?.finishReasons.join(','),
  })
}
