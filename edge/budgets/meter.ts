import { z } from 'zod'
import { KeyId } from '../../shared/ids.ts'
import type { Usage } from '../../shared/wire.ts'

export const Day = z.iso.date()

/** What to charge, and to what, for one choice of a request. */
export const Meter = z.strictObject({
  /** UTC day that pays. */
  day: Day,
  /** When the request was admitted, by the edge's clock: milliseconds since 1970. */
  at: z.int().min(0),
  /** Whose tokens were reserved; null when no limit is set. */
  lease: z.uuid().nullable(),
  key: KeyId,
  /** When the tenant was created; null where that is not known. */
  tenancy: z.int().nullable().default(null),
  /** As the client named it. */
  model: z.string().min(1).max(64),
  /** Tokens charged at most: those of the prompt (none where an earlier choice of the same prompt pays them) … */
  prompt: z.int().min(0),
  /** … and those generated. Whatever a node says, no more than was reserved is charged. */
  completion: z.int().min(0),
})
export type Meter = z.infer<typeof Meter>

/** What of a node's counts is paid for: nothing where there was no first token. */
export function payable({ completion, prompt }: Meter, usage: Usage): { prompt: number; completion: number } {
  if (usage.completionTokens === 0) return { prompt: 0, completion: 0 }
  return {
    prompt: Math.min(prompt, usage.promptTokens),
    completion: Math.min(completion, usage.completionTokens),
  }
}

/** As it travels to a node and back. */
export const writeMeter = (meter: Meter): string => JSON.stringify(meter)

export function readMeter(text: string): Meter | undefined {
  try {
    const parsed = Meter.safeParse(JSON.parse(text))
    return parsed.success ? parsed.data : undefined
  } catch {
    return undefined
  }
}
