import { type ErrorCode, isErrorCode, QuartetError } from '../../shared/errors.ts'
import type { Usage } from '../../shared/wire.ts'
import { textUpTo } from '../http/text-up-to.ts'

/** The meaning of a node's failure for the next attempt, for the node's standing, and for the client. */
export interface FailureVerdict {
  /** `roomier`: at another node, if one can hold the request. */
  readonly retry: 'elsewhere' | 'anywhere' | 'roomier' | 'never'
  /** The node did none of the work and will not: a repeat elsewhere adds no load to the fleet. */
  readonly tookNothing?: true
  /** The node went away or fell silent while it had the request: perhaps because of it. */
  readonly perhapsDeadly?: true
  /** The node should be avoided for a while. */
  readonly avoid: boolean
  readonly code: ErrorCode
  readonly message: string
}

const unavailable = { code: 'node_unavailable', message: 'no node can be reached; retry' } as const
const broken = { code: 'node_error', message: 'the node failed; retry' } as const

const verdicts = {
  queue_full: {
    retry: 'elsewhere',
    avoid: false,
    code: 'queue_full',
    message: 'the nodes are busy; retry later',
  },
  draining: { retry: 'elsewhere', avoid: true, tookNothing: true, ...unavailable },
  node_unavailable: { retry: 'elsewhere', avoid: true, ...unavailable },
  /** The registry has not heard of it for a while, and it has not answered either. */
  lost: { retry: 'elsewhere', avoid: true, tookNothing: true, perhapsDeadly: true, ...unavailable },
  /** The node did not answer at all. A lone node is asked again, as its connection may only have gone stale. */
  unreachable: { retry: 'anywhere', avoid: true, tookNothing: true, ...unavailable },
  /** It ended before it was complete. */
  truncated: {
    retry: 'elsewhere',
    avoid: true,
    tookNothing: true,
    perhapsDeadly: true,
    code: 'node_error',
    message: 'the node went away before the answer was complete; retry',
  },
  /** It began to answer and sends nothing more, though the connection stands: perhaps it still works at it. */
  silent: {
    retry: 'elsewhere',
    avoid: true,
    perhapsDeadly: true,
    code: 'node_error',
    message: 'the node fell silent before the answer was complete; retry',
  },
  deadline_exceeded: {
    retry: 'never',
    avoid: false,
    code: 'deadline_exceeded',
    message: 'the request took longer than it may; ask for fewer tokens or retry',
  },
  /** Nodes of one backbone may have caches of different size. */
  context_length_exceeded: {
    retry: 'roomier',
    avoid: false,
    code: 'context_length_exceeded',
    message: 'prompt and max_tokens together are longer than the model has room for; shorten one of them',
  },
  /** It refuses what it was sent, of which it did nothing: that is the request's, or this edge's, not the node's. */
  body_too_large: { retry: 'elsewhere', avoid: false, ...broken },
  digest_mismatch: { retry: 'elsewhere', avoid: false, ...broken },
  invalid_request: { retry: 'elsewhere', avoid: false, ...broken },
  backbone_mismatch: { retry: 'elsewhere', avoid: false, ...broken },
  /** Every node would compute the same. */
  adapter_unusable: {
    retry: 'never',
    avoid: false,
    code: 'adapter_unusable',
    message:
      'the weights of the adapter behind this model are too large: what they compute for this prompt is no number; train it anew, or roll the alias back',
  },
  /** The edge could not bring the adapter to the node in time: that says nothing of the node. */
  push_timeout: {
    retry: 'elsewhere',
    avoid: false,
    code: 'node_unavailable',
    message: 'the adapter could not be brought to a node in time; retry',
  },
  adapter_invalid: {
    retry: 'never',
    avoid: false,
    code: 'node_error',
    message:
      'the adapter behind this model does not fit the backbone that the nodes serve; publish one that was made for it, or roll the alias back',
  },
  grammar_invalid: {
    retry: 'never',
    avoid: false,
    code: 'grammar_invalid',
    message: 'the form that the answer is to have cannot be compiled; make it simpler',
  },
  internal_error: { retry: 'elsewhere', avoid: true, ...broken },
  invalid_node_token: { retry: 'elsewhere', avoid: true, ...broken },
  other: { retry: 'elsewhere', avoid: true, ...broken },
} as const satisfies Partial<
  Record<
    ErrorCode | 'unreachable' | 'truncated' | 'lost' | 'silent' | 'push_timeout' | 'other',
    FailureVerdict
  >
>

type Cause = keyof typeof verdicts

/** A node did not do what it was asked to. */
export class NodeFailure extends Error {
  override readonly name = 'NodeFailure'
  /** A word of ours, never the node's: for logs. */
  readonly reason: Cause
  readonly verdict: FailureVerdict
  readonly retryAfterSeconds: number | undefined
  /** The tokens that the node says it used before it failed. */
  readonly usage: Usage | undefined
  readonly #told: string | undefined

  constructor(
    cause: string,
    detail: {
      message: string
      retryAfterSeconds?: number | undefined
      usage?: Usage | undefined
      thrown?: unknown
      /** The message to the client, where that is the node's to say. */
      told?: string | undefined
    },
  ) {
    super(detail.message, { cause: detail.thrown })
    this.reason = isCause(cause) ? cause : 'other'
    this.verdict = verdicts[this.reason]
    this.retryAfterSeconds = detail.retryAfterSeconds
    this.usage = detail.usage
    this.#told = detail.told
  }

  /** The message to the client; the node's own words stay in the log. */
  toQuartetError(): QuartetError {
    const { code } = this.verdict
    const message = this.#told ?? this.verdict.message
    // Only a full queue knows when it has room again.
    const retryAfterSeconds = code === 'queue_full' ? this.retryAfterSeconds : undefined
    return new QuartetError(code, message, { cause: this, retryAfterSeconds })
  }
}

/** The error that the client gets for a failure of calls to nodes. */
export const forClient = (thrown: unknown): unknown =>
  thrown instanceof NodeFailure ? thrown.toQuartetError() : thrown

function isCause(cause: string): cause is Cause {
  return Object.hasOwn(verdicts, cause)
}

/** The part of a node's error answer that is read and logged. */
const maxFailureBytes = 2_000

/** The failure that a node's error answer describes; `means` has the codes that stand for another cause here. */
export async function failureOf(
  response: Response,
  nodeId: string,
  means: Readonly<Partial<Record<ErrorCode, Cause>>> = {},
): Promise<NodeFailure> {
  const { text } = await textUpTo(maxFailureBytes, response).catch(() => ({ text: '' }))
  const code = errorCodeIn(text)
  const retryAfter = Number(response.headers.get('retry-after'))
  // Why a grammar is refused is the client's to know, and may quote it: no log has it.
  const isGrammar = code === 'grammar_invalid'
  return new NodeFailure(code === undefined ? 'other' : (means[code] ?? code), {
    message: `node ${nodeId} answered ${response.status} ${code ?? ''}${isGrammar ? '' : `: ${text}`}`,
    told: isGrammar ? messageIn(text) : undefined,
    retryAfterSeconds: retryAfter > 0 && retryAfter <= 3_600 ? Math.ceil(retryAfter) : undefined,
  })
}

function messageIn(text: string): string | undefined {
  const message = /"message":("(?:[^"\\]|\\.){1,500}")/.exec(text)?.[1]
  try {
    return message === undefined ? undefined : String(JSON.parse(message))
  } catch {
    return undefined
  }
}

function errorCodeIn(text: string): ErrorCode | undefined {
  const code = /"code":"([a-z_]+)"/.exec(text)?.[1]
  return code !== undefined && isErrorCode(code) ? code : undefined
}
