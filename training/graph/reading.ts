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

type Placement = AdapterMetadata['placement']

interface Lengths {
  readonly instruction: number
  readonly turn: number
  readonly window: number
  readonly tail: number
}

const first = ({ instruction, window }: Lengths) => ({ start: 0, end: Math.min(instruction, window) })

/** The tokens that a generator reads: the first of an instruction or of its newest turn, or the last in front of late rows. */
const spanOf: {
  readonly [P in Placement]: (of: Lengths) => { readonly start: number; readonly end: number }
} = {
  first,
  'after-first': first,
  turn: ({ instruction, turn, window }) => ({ start: turn, end: Math.min(instruction, turn + window) }),
  late: ({ instruction, tail, window }) => ({
    start: Math.max(0, instruction - tail - window),
    end: instruction - tail,
  }),
}

export function readingOf(batch: readonly Stretch[], metadata: AdapterMetadata | undefined): Reading {
  const { placement = 'first', tail: usualTail = 0 } = metadata ?? {}
  const window = metadata !== undefined && 'window' in metadata ? metadata.window : 1
  const spans = batch.map(({ instruction, tail = usualTail, turn = 0 }) =>
    spanOf[placement]({ instruction: instruction.length, turn, window, tail }),
  )
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
