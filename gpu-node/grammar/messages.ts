import type { Grammar } from '../../shared/wire.ts'

/** A tokenizer as xgrammar reads it. */
export interface GrammarVocabulary {
  /** The texts by id, as many as the model has logits. No grammar allows a token with an empty text. */
  readonly tokens: readonly string[]
  /** How the texts write bytes. */
  readonly spelling: 'byte_level' | 'byte_fallback'
  readonly eos: readonly number[]
  /** As `compileTokenizer` makes it, to write the texts that a grammar forces. */
  readonly tokenizer: Uint8Array
}

export type WorkerSetup =
  /** Tells whether grammars are well formed, without a vocabulary. */
  | { readonly task: 'check' }
  /** Compiles grammars and follows texts along them. */
  | { readonly task: 'match'; readonly vocabulary: GrammarVocabulary }

/** `call` is answered; the others are not. */
export type ToWorker =
  | {
      readonly type: 'check' | 'compile'
      readonly call: number
      readonly hash: string
      readonly grammar: Grammar
    }
  | {
      readonly type: 'open'
      readonly session: number
      readonly hash: string
      readonly state: SharedArrayBuffer
      readonly stopTokens: readonly number[]
      readonly isSpelledFreely: boolean
    }
  | { readonly type: 'accept'; readonly session: number; readonly token: number }
  | { readonly type: 'close'; readonly session: number }
  | { readonly type: 'forget'; readonly hash: string }

export interface FromWorker {
  readonly call: number
  /** Why the grammar is refused. */
  readonly refusal?: string | undefined
  /** The worker can do nothing more. */
  readonly broken?: boolean
}

/** Forced tokens that a worker tells at a time. */
export const mostForced = 32

/**
 * The memory of a session that the node and its worker share: the number of masks made so far, the session's status,
 * the tokens that must come next, and the mask of what may come behind them. The mask has one bit per token, set where
 * the grammar allows the token.
 */
export const stateLayout = { version: 0, status: 1, forcedCount: 2, forced: 3, mask: 3 + mostForced } as const
export const statuses = { open: 0, complete: 1, failed: 2, slow: 3 } as const

export const stateBytes = (vocab: number): number => 4 * (stateLayout.mask + Math.ceil(vocab / 32))
