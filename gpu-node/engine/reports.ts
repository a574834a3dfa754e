import type { ErrorCode } from '../../shared/errors.ts'
import type { RequestId } from '../../shared/ids.ts'
import type { FinishReason, Timings, Usage } from '../../shared/wire.ts'
import type { Chunk } from './chunk.ts'
import type { Step } from './scheduler.ts'
import type { EngineRequest } from './sequence.ts'

export interface StepReport {
  readonly prefillTokens: number
  /** Cache rows that prefill filled: those tokens, and prompt rows of adapters. */
  readonly prefillRows: number
  readonly prefillSeconds: number
  /** Sequences decoded, a token each. */
  readonly decodeTokens: number
  /** Tokens of forced texts, each text run at once. */
  readonly jumpTokens: number
  /** The time of both. */
  readonly decodeSeconds: number
}

export interface EndedRequest {
  readonly requestId: RequestId
  readonly engineRequest: EngineRequest
  readonly outcome: FinishReason | ErrorCode
  readonly usage: Usage
  readonly timings: Timings
}

/** Hears the engine's events, for metrics and logs. Must not throw. */
export interface EngineObserver {
  stepped(step: StepReport): void
  ended(request: EndedRequest): void
  /** A backend call failed. */
  failed(error: unknown): void
}

/** How long a step's runs took, of those that went well. */
export interface StepTime {
  prefillMs: number
  decodeMs: number
}

export function reportOf({ chunks, decode, jumps }: Step, { decodeMs, prefillMs }: StepTime): StepReport {
  const sum = (count: (chunk: Chunk) => number) => chunks.reduce((total, chunk) => total + count(chunk), 0)
  return {
    prefillTokens: sum(({ tokens }) => tokens.length),
    prefillRows: sum(({ rows }) => rows),
    prefillSeconds: prefillMs / 1000,
    decodeTokens: decode.length,
    jumpTokens: jumps.reduce((total, { tokens }) => total + tokens.length, 0),
    decodeSeconds: decodeMs / 1000,
  }
}
