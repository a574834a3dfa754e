import type { ErrorCode } from '../../shared/errors.ts'
import type { RequestId } from '../../shared/ids.ts'
import type { FinishReason, Timings, Usage } from '../../shared/wire.ts'
import type { EngineRequest } from './sequence.ts'

export interface StepReport {
  readonly prefillTokens: number
  /** Cache rows that prefill filled: those tokens, and prompt rows of adapters. */
  readonly prefillRows: number
  readonly prefillSeconds: number
  /** Sequences decoded, a token each. */
  readonly decodeTokens: number
  readonly decodeSeconds: number
}

export interface RequestReport {
  readonly requestId: RequestId
  readonly engineRequest: EngineRequest
  readonly outcome: FinishReason | ErrorCode
  readonly usage: Usage
  readonly timings: Timings
}

/** Hears the engine's events, for metrics and logs. Must not throw. */
export interface EngineObserver {
  stepped(step: StepReport): void
  ended(request: RequestReport): void
  /** A backend call failed. */
  failed(error: unknown): void
}
