import { z } from 'zod'
import { cutAtMistake, firstMistake } from './long-input.ts'
import { Text } from './parameters.ts'

/** The field of a request that holds prompts. */
type PromptField = 'prompt' | 'input'
/** One prompt of a request: its field, with its place where there are several. */
export type PromptPlace = PromptField | `${PromptField}[${number}]`

export const promptPlace = (field: PromptField, { at, of }: { at: number; of: number }): PromptPlace =>
  of > 1 ? `${field}[${at}]` : field

const TokenId = z.int().min(0)
const TokenIds = z.array(TokenId).min(1, 'must hold at least one token id')

/** One prompt: text, in which special tokens are parsed as such, or token ids. */
const Prompt = z.union([Text, TokenIds], { error: 'must be a string or an array of token ids' })
export type Prompt = z.infer<typeof Prompt>

/** One prompt or several, as a list; each is answered by itself, in order. */
export const promptsUpTo = (most: number) =>
  z.preprocess(
    (given, context) => {
      if (!Array.isArray(given)) return given
      // A list that begins with a number is one prompt. A union would look for prompts in it too, up to its end.
      if (typeof given[0] === 'number') {
        const at = firstMistake(given, isTokenId)
        if (at === -1) return given
        const message =
          typeof given[at] === 'number' ? 'must be a whole number, at least 0' : 'must be of type number'
        context.addIssue({ code: 'custom', message, path: [at] })
        return z.NEVER
      }
      if (given.length <= most)
        return given.map((prompt: unknown) =>
          Array.isArray(prompt) ? cutAtMistake(prompt, isTokenId) : prompt,
        )
      const message = `holds ${given.length} prompts; a request has at most ${most}, so send several`
      context.addIssue({ code: 'custom', message })
      return z.NEVER
    },
    z
      .union(
        [Text, TokenIds, z.array(Prompt).min(1, 'must hold at least one prompt').meta({ maxItems: most })],
        {
          error: `must be a string, an array of token ids, or an array of up to ${most} of those`,
        },
      )
      .transform((prompts): Prompt[] => {
        if (typeof prompts === 'string') return [prompts]
        return isTokenIds(prompts) ? [prompts] : prompts
      }),
  )

export const isTokenId = (entry: unknown) => Number.isSafeInteger(entry) && Number(entry) >= 0

function isTokenIds(prompts: readonly Prompt[] | readonly number[]): prompts is number[] {
  return typeof prompts[0] === 'number'
}
