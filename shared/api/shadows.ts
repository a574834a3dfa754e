import { z } from 'zod'
import { AdapterDigest, AliasName } from '../ids.ts'
import { Page, pageQuery } from './paging.ts'

/** What the shadows of a tenant's aliases answered. Kept are the newest, at most so many and so many bytes, for 30 days. */

export const maxShadowAnswers = 1_000
export const maxShadowBytes = 8 * 1024 * 1024
/** Longer texts are cut: a prompt at its beginning, an answer at its end. In UTF-16 units. */
export const maxShadowText = 8_000
/** Log-probabilities of further tokens are left out. */
export const maxShadowTokens = 512

const answered = {
  text: z.string(),
  finish_reason: z.string(),
  completion_tokens: z.int().min(0),
}

export const ShadowAnswer = z.object({
  /** Counts up. */
  id: z.string(),
  /** Milliseconds since 1970. */
  at: z.int(),
  request: z.string(),
  alias: AliasName,
  /** The alias's version then. */
  version: z.int(),
  /** The end of the conversation as the model read it. */
  prompt: z.string(),
  /** What the client got, and the adapter that made it. */
  answer: z.object({ adapter: AdapterDigest, ...answered }),
  shadow: z.object({
    adapter: AdapterDigest,
    /** The code of the failure; null where it answered. */
    error: z.string().nullable(),
    ...answered,
    /** Prompt tokens of which it used the other's prefill. */
    cached_tokens: z.int().min(0),
    tokens: z.array(z.object({ token: z.string(), logprob: z.number() })),
  }),
})
export type ShadowAnswer = z.infer<typeof ShadowAnswer>

/** `GET …/aliases/{alias}/shadow/answers`: newest first. */
export const ShadowAnswersQuery = z.strictObject(pageQuery({ usual: 50, most: 200 }))
export const ShadowAnswerList = Page(ShadowAnswer)
/** `DELETE …/aliases/{alias}/shadow/answers`. */
export const DeletedShadowAnswers = z.object({ deleted: z.int().min(0) })
