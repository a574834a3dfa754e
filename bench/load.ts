import { throughClosedConnections } from '../shared/closed-connection.ts'
import { quantile } from './statistics.ts'

/** A server under load: where to post, what, and which piece of a streamed event is text. */
export interface LoadTarget {
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  /** Body of request `i`. */
  body(i: number): unknown
  /** Whether a streamed event carries a token. */
  isToken(event: unknown): boolean
  /** Breaks its requests off. */
  readonly signal?: AbortSignal | undefined
}

export interface TimedAnswer {
  readonly totalMs: number
  readonly firstTokenMs: number
}

/** Sends one streaming request and reads it to its end. Throws on any status but 200 and on an error event. */
export async function request(target: LoadTarget, i: number): Promise<TimedAnswer> {
  const start = performance.now()
  const response = await throughClosedConnections(() =>
    fetch(target.url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...target.headers },
      body: JSON.stringify(target.body(i)),
      ...(target.signal && { signal: target.signal }),
    }),
  )
  if (!response.ok || response.body === null) throw new Error(`${response.status} ${await response.text()}`)
  let firstTokenMs: number | undefined
  let rest = ''
  for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + chunk).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) {
      if (!line.startsWith('data: {')) continue
      const event: unknown = JSON.parse(line.slice('data: '.length))
      if (typeof event === 'object' && event !== null && 'error' in event) throw new Error(line)
      if (firstTokenMs === undefined && target.isToken(event)) firstTokenMs = performance.now() - start
    }
  }
  if (firstTokenMs === undefined) throw new Error('the stream held no token')
  return { totalMs: performance.now() - start, firstTokenMs }
}

export interface LoadResult {
  readonly requestsPerSecond: number
  readonly totalMs: { readonly p50: number; readonly p95: number }
  readonly firstTokenMs: { readonly p50: number; readonly p95: number }
}

/** Closed loop: each client sends its next request when the last one is answered. */
export async function closedLoop(
  target: LoadTarget,
  { clients, requests }: { clients: number; requests: number },
): Promise<LoadResult> {
  const answers: TimedAnswer[] = []
  let next = 0
  const start = performance.now()
  await Promise.all(
    Array.from({ length: clients }, async () => {
      while (next < requests) answers.push(await request(target, next++))
    }),
  )
  const seconds = (performance.now() - start) / 1000
  const spread = (values: number[]) => ({ p50: quantile(values, 0.5), p95: quantile(values, 0.95) })
  return {
    requestsPerSecond: requests / seconds,
    totalMs: spread(answers.map((answer) => answer.totalMs)),
    firstTokenMs: spread(answers.map((answer) => answer.firstTokenMs)),
  }
}
