import type { AdapterMetadata } from '../../shared/adapter-file.ts'
import type { Stretch } from '../data/runs.ts'
import { numbered } from './token-places.ts'

/** Which tokens of each example a generator reads. */
export interface Reading {
  /** Tokens up to the end of the longest instruction as the generator reads it. */
  readonly instruction: number
  /** [batch, instruction] */
  readonly mask: Float32Array
  /** [batch, instruction] */
  readonly share: Float32Array
}

/** The score outside an instruction: e to it is 0. */
const masked = -1e30

/** A generator reads the first tokens of an instruction, or the last in front of its late rows. */
export function readingOf(batch: readonly Stretch[], metadata: AdapterMetadata | undefined): Reading {
  const { placement = 'first', tail = 0 } = metadata ?? {}
  const window = metadata !== undefined && 'window' in metadata ? metadata.window : 1
  const spans = batch.map(({ instruction }) => {
    const end = placement === 'late' ? instruction.length - tail : Math.min(instruction.length, window)
    return { start: Math.max(0, end - window), end }
  })
  const widest = Math.max(...spans.map(({ end }) => end))
  const perToken = (inside: (length: number) => number, outside: number) =>
    Float32Array.from(
      spans.flatMap(({ start, end }) =>
        numbered(widest).map((at) => (at >= start && at < end ? inside(end - start) : outside)),
      ),
    )
  return {
    instruction: widest,
    mask: perToken(() => 0, masked),
    share: perToken((length) => 1 / length, 0),
  }
}
