import { z } from 'zod'
import type { Session } from '../session/session.ts'

/** A request that did not succeed. `status` is 0 when the edge could not be reached. */
export class CallFailure extends Error {
  override readonly name = 'CallFailure'
  readonly status: number
  readonly code: string
  readonly param: string | null
  readonly retryAfterSeconds: number | undefined

  constructor(
    message: string,
    detail: { status: number; code: string; param?: string | null; retryAfterSeconds?: number | undefined },
  ) {
    super(message)
    this.status = detail.status
    this.code = detail.code
    this.param = detail.param ?? null
    this.retryAfterSeconds = detail.retryAfterSeconds
  }
}

const Failure = z.object({
  error: z.object({ message: z.string(), param: z.string().nullable().default(null), code: z.string() }),
})

export interface Call {
  readonly path: string
  readonly method?: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  /** Sent as JSON. */
  readonly json?: unknown
  /** Sent as it is. */
  readonly body?: Blob | FormData
  readonly headers?: Readonly<Record<string, string>>
  readonly signal?: AbortSignal | undefined
}

/** Calls the edge. Throws CallFailure for anything but a success, and what `signal` was aborted with. */
export async function send(
  session: Session,
  { path, method = 'GET', json, body, headers, signal }: Call,
): Promise<Response> {
  let response: Response
  try {
    response = await fetch(path, {
      method,
      headers: {
        authorization: `Bearer ${session.key}`,
        ...(json === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      body: json === undefined ? (body ?? null) : JSON.stringify(json),
      signal: signal ?? null,
      cache: 'no-store',
      redirect: 'error',
    })
  } catch (thrown) {
    signal?.throwIfAborted()
    throw new CallFailure('The edge cannot be reached. Check the connection, then try again.', {
      status: 0,
      code: thrown instanceof Error ? thrown.name : 'network',
    })
  }
  if (response.ok) return response
  const told = Failure.safeParse(await response.json().catch(() => undefined))
  const retryAfter = Number(response.headers.get('retry-after') ?? Number.NaN)
  throw new CallFailure(told.success ? told.data.error.message : `The edge answered ${response.status}.`, {
    status: response.status,
    code: told.success ? told.data.error.code : 'unknown',
    param: told.success ? told.data.error.param : null,
    retryAfterSeconds: Number.isFinite(retryAfter) ? retryAfter : undefined,
  })
}

/** The same, with the answer's JSON checked. */
export async function call<S extends z.ZodType>(
  session: Session,
  schema: S,
  request: Call,
): Promise<z.output<S>> {
  const response = await send(session, request)
  const parsed = schema.safeParse(await response.json().catch(() => undefined))
  if (parsed.success) return parsed.data
  throw new CallFailure(`The edge's answer to ${request.path} has another form than this console expects.`, {
    status: response.status,
    code: 'unexpected_answer',
  })
}
