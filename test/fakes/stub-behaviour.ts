export interface Refusal {
  readonly status: number
  readonly code: string
  readonly retryAfter?: number
  /** For a redirect: where to. */
  readonly location?: string
  /** The body goes on for ever. */
  readonly endless?: boolean
}

/** The behaviour of a stub node for the next requests. */
export interface StubBehaviour {
  /** Ids of the tokens it answers with. */
  readonly tokens: readonly number[]
  /** Milliseconds before each token. */
  readonly delayMs?: number
  /** Writes each token by itself, as fast as it can; without this and `delayMs` all of them at once. */
  readonly isEachWritten?: boolean
  /** Milliseconds before the answer's head. */
  readonly headDelayMs?: number
  readonly reason?: 'stop' | 'length'
  /** The last token is a stop token. */
  readonly endsWithStopToken?: boolean
  /** Says that it had run so many tokens of the prompt before. */
  readonly cachedTokens?: number
  /** Closes a connection under the second call that comes on it. */
  readonly cutsReused?: boolean
  /** Cuts the connection after this many tokens. */
  readonly dieAfter?: number
  /** Sends nothing more after this many tokens, and keeps the connection. */
  readonly fallSilentAfter?: number
  /** Keeps the connection open behind its last event. */
  readonly neverEnds?: boolean
  /** Sends all its tokens, however few were asked for. */
  readonly overruns?: boolean
  /** Rows that each adapter makes, by digest: it counts those of all adapters of a request. */
  readonly rows?: Readonly<Record<string, number>>
  /** Adds this to its counts. */
  readonly miscounts?: { readonly prompt?: number; readonly completion?: number }
  /** Sends an `error` event with this code after this many tokens. */
  readonly failAfter?: { readonly tokens: number; readonly code: string }
  /** Lacks every adapter until it is pushed. */
  readonly adapterMissing?: boolean
  /** Then holds no more of them than so many: the newest. */
  readonly mostAdapters?: number
  /** Answers with this. */
  readonly refuse?: Refusal
  /** Behaves otherwise in requests whose first adapter is this one, by digest. */
  readonly of?: Readonly<Record<string, Partial<Omit<StubBehaviour, 'of'>>>>
  /** Answers a pushed adapter with this, after as many milliseconds. */
  readonly refusePush?: Refusal
  readonly pushDelayMs?: number
  /** Answers whoever asks for settlements with this. */
  readonly refuseSettlements?: Refusal
  /** Sends this instead of events. */
  readonly garbage?: string
  /** Log-probability of every token; its one alternative is token 0. */
  readonly logprob?: number
  /** Log-probability of each token of a prompt; with null it sends none though it is asked to. */
  readonly promptLogprob?: number | null
  /** Numbers of each prompt's embedding, scaled by its length in tokens; with null it sends none though it is asked to. */
  readonly embedding?: readonly number[] | null
  /** The likeliest tokens instead of the chosen one and token 0. */
  readonly top?: readonly (readonly [id: number, logprob: number])[]
}

export interface StubCall {
  readonly kind: 'generate' | 'put-adapter'
  /** Milliseconds since an instant that all stub nodes share. */
  readonly arrivedAt: number
  /** The connection that it came on; they count from 0. */
  readonly connection: number
  readonly authorization: string
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  /** The digest of a pushed adapter. */
  readonly digest?: string
  /** The JSON body of a generate call; the number of bytes of a pushed adapter. */
  readonly body: unknown
  /** Tokens sent so far. */
  sent: number
  /** The answer has ended, whichever way. */
  over: boolean
  /** It did none of the work. */
  refused: boolean
  /** The edge went away before the end. */
  aborted: boolean
}
