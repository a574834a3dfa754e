import { QuartetError } from '../../shared/errors.ts'
import type { Turn } from '../../shared/tokenizer/conversation.ts'
import type { Encoded } from './encode-prompts.ts'

/**
 * The tokens of a conversation without as many of its oldest messages as do not fit; `kept` messages in front and the last
 * one always stay. `encode` throws `context_length_exceeded` for what is too long.
 */
export function fitConversation(
  messages: readonly Turn[],
  { encode, kept }: { encode: (messages: readonly Turn[]) => Encoded; kept: number },
): Encoded {
  const without = (count: number) => {
    const left = messages.slice(kept + count)
    // A result says nothing without its call.
    const from = left.findIndex(({ role }) => role !== 'tool')
    return [...messages.slice(0, kept), ...(count === 0 || from === -1 ? left : left.slice(from))]
  }
  const attempt = (count: number): Encoded | undefined => {
    try {
      return encode(without(count))
    } catch (thrown) {
      if (thrown instanceof QuartetError && thrown.code === 'context_length_exceeded') return undefined
      throw thrown
    }
  }
  const whole = attempt(0)
  if (whole !== undefined) return whole
  let [tooFew, enough] = [0, messages.length - kept - 1]
  let fitting = encode(without(enough))
  while (enough - tooFew > 1) {
    const middle = Math.floor((tooFew + enough) / 2)
    const ids = attempt(middle)
    if (ids === undefined) tooFew = middle
    else [enough, fitting] = [middle, ids]
  }
  return fitting
}
