import type { PrefillChunk, StepPart } from '../../model/runtime/backend.ts'
import type { Chunk } from './chunk.ts'
import type { PromptReading } from './prompt-reading.ts'
import type { Step } from './scheduler.ts'
import type { Sequence } from './sequence.ts'

/** A prompt's chunk as the backend runs it. */
export interface PromptPart extends PrefillChunk {
  readonly kind: 'chunk'
  readonly sequence: Sequence
  readonly prompt: {
    /** Cache rows that it fills, and those in front of it. */
    readonly rows: number
    readonly depth: number
    /** Tokens of the prompt that the cache holds behind it. */
    readonly end: number
  }
}

/** A step's work for one sequence as the backend runs it. A forced text is a chunk without a `prompt`. */
export type EnginePart =
  | PromptPart
  | (StepPart & { readonly sequence: Sequence; readonly prompt?: undefined })

/** A prompt's chunk of which the request wants to be told more than the next token. */
export interface ReadingPart extends PromptPart {
  readonly reading: PromptReading
}

/** A step's work as parts: each of `reading` runs in a call of its own, and `parts` may run together. */
export function partsOf({ chunks, decode, jumps }: Step): {
  readonly reading: readonly ReadingPart[]
  readonly parts: readonly EnginePart[]
} {
  const prompts = chunks.flatMap(promptPart)
  return {
    reading: prompts.flatMap((part) => {
      const reading = part.sequence.promptReading
      return reading === undefined ? [] : [{ ...part, reading }]
    }),
    parts: [
      ...prompts.filter(({ sequence }) => sequence.promptReading === undefined),
      ...jumps.map((jump) => ({ kind: 'chunk' as const, ...jump })),
      ...decode.flatMap(decodeParts),
    ],
  }
}

function promptPart({ depth, rows, sequence, tokens }: Chunk): PromptPart[] {
  if (sequence.phase.name !== 'prefilling') return []
  const { done, slot } = sequence.phase
  const end = done + tokens.length
  const { adapter, tail } = sequence
  const tuned = adapter !== undefined && sequence.makesRows({ start: done, end }) ? { adapter, tail } : {}
  return [{ kind: 'chunk', sequence, slot, tokens, ...tuned, prompt: { rows, depth, end } }]
}

function decodeParts(sequence: Sequence): EnginePart[] {
  if (sequence.phase.name !== 'decoding') return []
  const { next, slot } = sequence.phase
  return next.map((token) => ({ kind: 'decode', sequence, slot, token }))
}

/** Tokens of a forced text that a part runs at once. */
export const forcedTokens = (part: EnginePart): number =>
  part.kind === 'chunk' && part.prompt === undefined ? part.tokens.length : 0
