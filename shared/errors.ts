/**
 * Every failure that leaves a process: its stable code, its HTTP status and OpenAI's error type.
 * A new failure is one row here.
 */
export const errorCodes = {
  invalid_json: { status: 400, type: 'invalid_request_error' },
  invalid_request: { status: 400, type: 'invalid_request_error' },
  unsupported_parameter: { status: 400, type: 'invalid_request_error' },
  exceeds_limit: { status: 400, type: 'invalid_request_error' },
  context_length_exceeded: { status: 400, type: 'invalid_request_error' },
  /** An adapter's weights are finite and what they compute is not. */
  adapter_unusable: { status: 422, type: 'invalid_request_error' },
  adapter_invalid: { status: 400, type: 'invalid_request_error' },
  /** The grammar or schema for an answer cannot be taken: it is too large, too slow to compile, or not well formed. */
  grammar_invalid: { status: 400, type: 'invalid_request_error' },
  digest_mismatch: { status: 400, type: 'invalid_request_error' },
  backbone_invalid: { status: 400, type: 'invalid_request_error' },
  backbone_mismatch: { status: 400, type: 'invalid_request_error' },
  training_data_invalid: { status: 400, type: 'invalid_request_error' },
  checkpoint_invalid: { status: 400, type: 'invalid_request_error' },
  invalid_api_key: { status: 401, type: 'authentication_error' },
  invalid_admin_key: { status: 401, type: 'authentication_error' },
  invalid_node_token: { status: 401, type: 'authentication_error' },
  tenant_suspended: { status: 403, type: 'permission_error' },
  /** The key may do other things: the message names the scope that is wanted. */
  missing_scope: { status: 403, type: 'permission_error' },
  model_not_allowed: { status: 403, type: 'permission_error' },
  adapter_storage_exceeded: { status: 403, type: 'permission_error' },
  file_storage_exceeded: { status: 403, type: 'permission_error' },
  model_not_found: { status: 404, type: 'invalid_request_error' },
  not_found: { status: 404, type: 'invalid_request_error' },
  method_not_allowed: { status: 405, type: 'invalid_request_error' },
  /** The request's body did not arrive in time. */
  request_timeout: { status: 408, type: 'invalid_request_error' },
  adapter_in_use: { status: 409, type: 'invalid_request_error' },
  idempotency_conflict: { status: 409, type: 'invalid_request_error' },
  conflict: { status: 409, type: 'invalid_request_error' },
  adapter_missing: { status: 409, type: 'invalid_request_error' },
  length_required: { status: 411, type: 'invalid_request_error' },
  body_too_large: { status: 413, type: 'invalid_request_error' },
  /** The body is not sent as it is: compressed, or wrapped in a form. */
  unsupported_media_type: { status: 415, type: 'invalid_request_error' },
  queue_full: { status: 429, type: 'rate_limit_error' },
  rate_limited: { status: 429, type: 'rate_limit_error' },
  budget_exhausted: { status: 429, type: 'rate_limit_error' },
  client_closed_request: { status: 499, type: 'invalid_request_error' },
  training_diverged: { status: 422, type: 'invalid_request_error' },
  internal_error: { status: 500, type: 'server_error' },
  node_error: { status: 502, type: 'server_error' },
  node_unavailable: { status: 503, type: 'server_error' },
  /** The control plane (a Durable Object) does not answer. */
  control_unavailable: { status: 503, type: 'server_error' },
  draining: { status: 503, type: 'server_error' },
  deadline_exceeded: { status: 504, type: 'server_error' },
} as const satisfies Record<string, { status: number; type: string }>

export type ErrorCode = keyof typeof errorCodes

export function isErrorCode(code: string): code is ErrorCode {
  return Object.hasOwn(errorCodes, code)
}

interface ErrorDetail {
  /** The request field at fault, in the client's own spelling (`messages[0].role`). */
  readonly param?: string | undefined
  /** When there is room, unless somebody else takes it; becomes a Retry-After header. Only where that is known. */
  readonly retryAfterSeconds?: number | undefined
  /** The obstacle passes by itself, at an unknown time. */
  readonly isTransient?: true | undefined
  /** The methods that the path has; becomes an Allow header. */
  readonly allow?: readonly string[] | undefined
  readonly cause?: unknown
}

/** A failure with a stable code. The message names what is wrong and the remedy, and never holds a secret. */
export class QuartetError extends Error {
  override readonly name = 'QuartetError'
  readonly code: ErrorCode
  readonly param: string | undefined
  readonly retryAfterSeconds: number | undefined
  readonly isTransient: boolean
  readonly allow: readonly string[] | undefined

  constructor(code: ErrorCode, message: string, detail: ErrorDetail = {}) {
    super(message, detail.cause === undefined ? undefined : { cause: detail.cause })
    this.code = code
    this.param = detail.param
    this.retryAfterSeconds = detail.retryAfterSeconds
    this.isTransient = detail.isTransient === true
    this.allow = detail.allow
  }

  get status(): number {
    return errorCodes[this.code].status
  }

  /** The body of an OpenAI-shaped error answer. */
  toBody(): ErrorBody {
    return {
      error: {
        message: this.message,
        type: errorCodes[this.code].type,
        param: this.param ?? null,
        code: this.code,
      },
    }
  }
}

export interface ErrorBody {
  readonly error: {
    readonly message: string
    readonly type: string
    readonly param: string | null
    readonly code: string
  }
}

/**
 * Any thrown value as a QuartetError. A value that is none becomes `internal_error`, with its text kept as cause only.
 */
export function toQuartetError(thrown: unknown): QuartetError {
  if (thrown instanceof QuartetError) return thrown
  return new QuartetError(
    'internal_error',
    'internal error; retry, and report the x-request-id if it persists',
    {
      cause: thrown,
    },
  )
}
