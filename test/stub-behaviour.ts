/** What a stub node does with the next requests. */
export interface StubBehaviour {
  /** Ids of the tokens it answers with. */
  readonly tokens: readonly number[]
  /** Milliseconds before each token. */
  readonly delayMs?: number
  /** Milliseconds before the answer's head. */
  readonly headDelayMs?: number
  readonly reason?: 'stop' | 'length'
  /** The last token is a stop token. */
  readonly endsWithStopToken?: boolean
  /** Cuts the connection after this many tokens. */
  readonly dieAfter?: number
  /** Sends nothing more after this many tokens, and keeps the connection. */
  readonly fallSilentAfter?: number
  /** Sends an `error` event with this code after this many tokens. */
  readonly failAfter?: { readonly tokens: number; readonly code: string }
  /** Lacks every adapter until it is pushed. */
  readonly adapterMissing?: boolean
  /** Answers with this status and code. */
  readonly refuse?: { readonly status: number; readonly code: string; readonly retryAfter?: number }
  /** Answers a pushed adapter with this status and code, and for a redirect with where to. */
  readonly refusePush?: { readonly status: number; readonly code: string; readonly location?: string }
  /** Sends this instead of events. */
  readonly garbage?: string
  /** Log-probability of every token; its one alternative is token 0. */
  readonly logprob?: number
}

export interface StubCall {
  readonly kind: 'generate' | 'put-adapter'
  readonly authorization: string
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  /** The JSON body of a generate call; the number of bytes of a pushed adapter. */
  readonly body: unknown
  /** Tokens sent so far. */
  sent: number
  /** The answer has ended, whichever way. */
  over: boolean
  /** The edge went away before the end. */
  aborted: boolean
}
