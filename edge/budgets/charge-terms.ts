import { z } from 'zod'
import { CanarySide } from '../../shared/api/deployments.ts'
import { maxModelLength } from '../../shared/api/parameters.ts'
import { KeyId } from '../../shared/ids.ts'
import type { Usage } from '../../shared/wire.ts'

const Day = z.iso.date()

/**
 * The order to charge one choice of a request: how much, and to what. Fields of a newer edge, whose orders nodes bring to this
 * one where both are deployed or one is rolled back, are left out.
 */
export const ChargeTerms = z.object({
  /** UTC day that pays. */
  day: Day,
  /** When the request was admitted, by the edge's clock: milliseconds since 1970. */
  at: z.int().min(0),
  /** The lease whose tokens were reserved; null when no limit is set. */
  lease: z.uuid().nullable(),
  key: KeyId,
  /** When the tenant was created; null where that is not known. */
  tenancy: z.int().nullable().default(null),
  /** The name that the client used. */
  model: z.string().min(1).max(maxModelLength),
  /** Set where that is an alias with a canary. */
  trial: z.object({ version: z.int(), side: CanarySide }).optional(),
  /** Set where several models answer together: the choice is its model's whole part, and so a request of its own there. */
  ownRequest: z.literal(true).optional(),
  /** Tokens charged at most: those of the prompt (none where an earlier choice of the same prompt pays them) … */
  prompt: z.int().min(0),
  /** … the adapter's prompt rows, which are paid for with it … */
  rows: z.int().min(0).default(0),
  /** The share of a token that a cached prompt token counts; the policy's when the request was admitted. */
  cachedTokenShare: z.number().min(0).max(1).default(1),
  /** The share of a token that each of all these counts: less in a batch; the policy's when the request was admitted. */
  tokenShare: z.number().min(0).max(1).default(1),
  /** … and those generated. Whatever a node says, no more than was reserved is charged. */
  completion: z.int().min(0),
})
export type ChargeTerms = z.infer<typeof ChargeTerms>

/** Tokens of a choice that are paid for. A prompt row costs what a prompt token costs. */
export interface Counts {
  readonly prompt: number
  /** Tokens of `prompt` that an earlier request had run. */
  readonly cached: number
  readonly rows: number
  readonly completion: number
}

/** Tokens that they take of the limits, in whole tokens: cached ones, and a batch's, by the shares that the policy sets. */
export const tokensIn = (
  { cached, completion, prompt, rows }: Counts,
  { cachedTokenShare, tokenShare }: Pick<ChargeTerms, 'cachedTokenShare' | 'tokenShare'>,
): number =>
  sharedTokens(prompt - Math.floor(cached * (1 - cachedTokenShare)) + rows + completion, tokenShare)

/** Whole tokens, rounded up: a token that is not free costs something. */
export const sharedTokens = (tokens: number, share: number): number => Math.ceil(tokens * share)

/** Tokens that a choice may take of the limits at most, whatever turns out to be cached. */
export const mostTokensIn = ({ completion, prompt, rows, tokenShare }: ChargeTerms): number =>
  sharedTokens(prompt + rows + completion, tokenShare)

/**
 * The part of a node's counts that is paid for. Where there was no first token that is nothing, unless the client left
 * before it, none was asked for, or the tenant's adapter made the logits no numbers.
 */
export function payable(
  { completion, prompt, rows }: ChargeTerms,
  usage: Usage,
  { leftByClient, outcome }: { leftByClient: boolean; outcome: string },
): Counts {
  const isWhole = completion === 0 && outcome === 'length'
  const isPaid = leftByClient || isWhole || outcome === 'adapter_unusable'
  if (usage.completionTokens === 0 && !isPaid) return { prompt: 0, cached: 0, rows: 0, completion: 0 }
  const paid = Math.min(prompt, usage.promptTokens)
  return {
    prompt: paid,
    cached: Math.min(paid, usage.cachedTokens ?? 0),
    rows: Math.min(rows, usage.promptRows ?? 0),
    completion: Math.min(completion, usage.completionTokens),
  }
}

/** Writes a terms as it travels to a node and back. */
export const writeTerms = (terms: ChargeTerms): string => JSON.stringify(terms)

export function readTerms(text: string): ChargeTerms | undefined {
  try {
    const parsed = ChargeTerms.safeParse(JSON.parse(text))
    return parsed.success ? parsed.data : undefined
  } catch {
    return undefined
  }
}
