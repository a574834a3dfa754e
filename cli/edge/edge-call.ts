import { z } from 'zod'
import { isErrorCode, QuartetError } from '../../shared/errors.ts'
import { CliFailure } from '../command/failure.ts'

/** Where an edge's API is, and the key that opens it. */
export interface EdgeAccess {
  readonly edge: string
  /** Path in front of what is called: `/v1`, `/admin/v1`, … */
  readonly base: string
  readonly key: string
}

export interface EdgeCall<T> {
  readonly method: 'GET' | 'PUT' | 'POST' | 'PATCH' | 'DELETE'
  readonly path: string
  readonly query?: Readonly<Record<string, string | number | undefined>> | undefined
  readonly json?: unknown
  readonly bytes?: Uint8Array<ArrayBuffer>
  readonly answer: z.ZodType<T>
}

/** Whether a call that is made twice does what it does once. */
const isRepeatable = (method: EdgeCall<unknown>['method']) => method !== 'POST' && method !== 'PATCH'

function isBrokenConnection(error: unknown): boolean {
  const cause = error instanceof Error ? error.cause : undefined
  const code = cause instanceof Error && 'code' in cause ? cause.code : undefined
  return code === 'UND_ERR_SOCKET' || code === 'ECONNRESET' || code === 'EPIPE'
}

/** Calls an edge. The answer is checked; a refusal keeps the edge's code and words. */
export async function send<T>(
  { base, edge, key }: EdgeAccess,
  { method, path, query = {}, json, bytes, answer }: EdgeCall<T>,
): Promise<T> {
  const url = new URL(`${edge}${base}/${path}`)
  for (const [name, value] of Object.entries(query))
    if (value !== undefined) url.searchParams.set(name, String(value))
  const body = bytes ?? (json === undefined ? undefined : JSON.stringify(json))
  const call = () =>
    fetch(url, {
      method,
      headers: {
        authorization: `Bearer ${key}`,
        'content-type': bytes === undefined ? 'application/json' : 'application/octet-stream',
      },
      ...(body === undefined ? {} : { body }),
    })
  const response = await call()
    .catch((cause: unknown) => {
      // A kept connection may have been closed while this process was busy, which it sees when it writes.
      if (isRepeatable(method) && isBrokenConnection(cause)) return call()
      throw cause
    })
    .catch((cause: unknown) => {
      throw new CliFailure(`the edge at ${edge} cannot be reached`, {
        remedy: 'start it (quartet start), or name another with --edge or QUARTET_EDGE_URL',
        cause,
      })
    })
  const content = parseJson(await response.text())
  if (!response.ok) throw refusal(response.status, content)
  const parsed = answer.safeParse(content)
  if (parsed.success) return parsed.data
  throw new CliFailure(`the edge answered ${method} ${path} in a way this command does not know`, {
    remedy: 'use a command line and an edge of the same version',
    cause: parsed.error,
  })
}

const ErrorAnswer = z.object({
  error: z.object({ message: z.string(), code: z.string().nullish(), param: z.string().nullish() }),
})

function refusal(status: number, content: unknown): Error {
  const parsed = ErrorAnswer.safeParse(content)
  if (!parsed.success)
    return new CliFailure(`the edge answered ${status}`, { remedy: 'see its log for the reason' })
  const { message, code, param } = parsed.data.error
  return code != null && isErrorCode(code)
    ? new QuartetError(code, message, { param: param ?? undefined })
    : new CliFailure(`the edge answered ${status}: ${message}`)
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
