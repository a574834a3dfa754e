import { z } from 'zod'
import { Text } from './parameters.ts'

/** The field of a request that holds prompts. */
type PromptField = 'prompt' | 'input'
/** One prompt of a request: its field, with its place where there are several. */
export type PromptPlace = PromptField | `${PromptField}[${number}]`

export const promptPlace = (field: PromptField, { at, of }: { at: number; of: number }): PromptPlace =>
  of > 1 ? `${field}[${at}]` : field

const TokenIds = z.array(z.int().min(0)).min(1, 'must hold at least one token id')

/** One prompt: text, in which special tokens are parsed as such, or token ids. */
const Prompt = z.union([Text, TokenIds], { error: 'must be a string or an array of token ids' })
export type Prompt = z.infer<typeof Prompt>

/** One prompt or several, as a list; each is answered by itself, in order. */
export const promptsUpTo = (most: number) =>
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
    })
    .refine((prompts) => prompts.length <= most, {
      error: ({ input }) =>
        `holds ${Array.isArray(input) ? input.length : 'too many'} prompts; a request has at most ${most}, so send several`,
    })

function isTokenIds(prompts: readonly Prompt[] | readonly number[]): prompts is number[] {
  return typeof prompts[0] === 'number'
}
