import type { GrammarMatcher } from '@mlc-ai/web-xgrammar'
import { type ForcedText, mostLatest } from './forced-text.ts'
import { mostForced } from './messages.ts'
import { type Utf8Masks, utf8Start } from './utf8-masks.ts'

const mostMsPerToken = 1_000
export const slowToFollow = `the tokens that it allows next take more than ${mostMsPerToken / 1000} s to find`

interface FollowedTextOptions {
  readonly matcher: Pick<
    GrammarMatcher,
    'acceptToken' | 'dispose' | 'findJumpForwardString' | 'getNextTokenBitmask' | 'isTerminated'
  >
  readonly utf8: Utf8Masks
  /** Absent where the model spells forced texts as it likes. */
  readonly forcedText: ForcedText | undefined
  readonly stopTokens: readonly number[]
  /** Processor time that the tokens allowed next may take to find: others' texts wait for it. */
  readonly mostMs?: number
}

/** The continuations that a grammar leaves. */
export type Continuation =
  | { readonly status: 'failed' | 'slow' }
  /** The text is over behind the forced tokens. */
  | { readonly status: 'complete'; readonly forced: readonly number[] }
  /** `mask`: the tokens allowed behind the forced ones, a bit each. */
  | { readonly status: 'open'; readonly forced: readonly number[]; readonly mask: Int32Array }

/** One text on its way through a grammar. */
export class FollowedText {
  readonly #matcher: FollowedTextOptions['matcher']
  readonly #utf8: Utf8Masks
  readonly #forcedText: ForcedText | undefined
  readonly #stopTokens: ReadonlySet<number>
  readonly #latest: number[] = []
  readonly #mostMs: number
  #place = utf8Start

  constructor({ forcedText, matcher, mostMs = mostMsPerToken, stopTokens, utf8 }: FollowedTextOptions) {
    this.#mostMs = mostMs
    this.#matcher = matcher
    this.#utf8 = utf8
    this.#forcedText = forcedText
    this.#stopTokens = new Set(stopTokens)
  }

  /** The continuations behind a token, or of the empty text. Forced tokens count as accepted. */
  async after(token?: number): Promise<Continuation> {
    const start = processorMs()
    const continuation = await this.#after(token)
    return processorMs() - start > this.#mostMs ? { status: 'slow' } : continuation
  }

  async #after(token?: number): Promise<Continuation> {
    if (token !== undefined && !this.#accept(token)) return { status: 'failed' }
    const forced: number[] = []
    for (;;) {
      if (this.#matcher.isTerminated()) return { status: 'complete', forced }
      if (this.#acceptSpelled(forced)) continue
      const mask = await this.#matcher.getNextTokenBitmask()
      this.#utf8.narrow(mask, this.#place)
      const only = forced.length < mostForced ? onlyToken(mask) : undefined
      if (only === undefined || !this.#force(only, forced)) return { status: 'open', forced, mask }
    }
  }

  dispose(): void {
    this.#matcher.dispose()
  }

  /** Accepts the tokens of the one text that the grammar leaves, if there is one; whether there were any. */
  #acceptSpelled(forced: number[]): boolean {
    if (this.#forcedText === undefined || !this.#utf8.isBorder(this.#place)) return false
    const text = this.#matcher.findJumpForwardString()
    const tokens = text === '' ? [] : this.#forcedText.tokens(this.#latest, text)
    const before = forced.length
    for (const token of tokens) if (forced.length === mostForced || !this.#force(token, forced)) break
    return forced.length > before
  }

  /** A stop token ends the answer, so the model chooses it. */
  #force(token: number, forced: number[]): boolean {
    if (this.#forcedText === undefined || this.#stopTokens.has(token) || !this.#accept(token)) return false
    forced.push(token)
    return true
  }

  #accept(token: number): boolean {
    if (!this.#matcher.acceptToken(token)) return false
    this.#place = this.#utf8.behind(this.#place, token)
    this.#latest.push(token)
    if (this.#latest.length > mostLatest) this.#latest.shift()
    return true
  }
}

/** Processor time of this thread; the time of day before Node 23.9, which does not tell it. */
function processorMs(): number {
  if (process.threadCpuUsage === undefined) return performance.now()
  const { system, user } = process.threadCpuUsage()
  return (system + user) / 1000
}

/** The one token that a mask allows. */
function onlyToken(mask: Int32Array): number | undefined {
  let only: number | undefined
  for (const [at, word] of mask.entries()) {
    if (word === 0) continue
    // One bit set at most, and no other word before.
    if (only !== undefined || (word & (word - 1)) !== 0) return undefined
    only = 32 * at + 31 - Math.clz32(word)
  }
  return only
}
