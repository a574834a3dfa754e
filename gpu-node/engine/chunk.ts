import { endOfRun, type RunRoom } from '../../model/runtime/prompt-cut.ts'
import type { Sequence } from './sequence.ts'

/** Tokens of one prompt that one run prefills. */
export interface Chunk {
  readonly sequence: Sequence
  readonly tokens: readonly number[]
  /** Cache rows that the chunk fills: its tokens, and the adapter's prompt rows where it makes them. */
  readonly rows: number
  /** Cache rows in front of it. */
  readonly depth: number
}

/** All that is left of a prompt, as one chunk; undefined for a sequence that is not prefilling. */
export function remainder(sequence: Sequence): Chunk | undefined {
  if (sequence.phase.name !== 'prefilling') return undefined
  const { done, slot } = sequence.phase
  return chunkOf(sequence, { start: done, end: sequence.prompt.length, depth: slot.length })
}

/** As much of what is left of a prompt as there is room for, and more where less cannot run. */
export function cutChunk({ depth, sequence, tokens }: Chunk, room: RunRoom): Chunk {
  const start = sequence.prompt.length - tokens.length
  return chunkOf(sequence, { start, end: endOfRun(sequence, { done: start, room }), depth })
}

function chunkOf(
  sequence: Sequence,
  { depth, ...range }: { readonly start: number; readonly end: number; readonly depth: number },
): Chunk {
  const tokens = sequence.prompt.slice(range.start, range.end)
  const made = sequence.makesRows(range) ? sequence.promptRows : 0
  return { sequence, tokens, rows: tokens.length + made, depth }
}
