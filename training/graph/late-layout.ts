import { numbered, type Place, padded } from './token-places.ts'

/** The further inputs of a graph with late rows; shapes as in its `LateInputs`. */
export interface LateLayout {
  /** [batch, front] */
  readonly frontTokens: number[]
  readonly tokenRows: number[]
  readonly promptRows: number[]
  /** [batch, instruction] */
  readonly instructionRows: number[]
}

interface LateBatch {
  /** The tokens that are read of each example. */
  readonly read: readonly (readonly number[])[]
  /** The number of tokens in front of each prompt row, for each example. */
  readonly places: readonly (readonly number[])[]
  /** The tokens that predict a response token. */
  readonly predicting: readonly Place[]
  /** Tokens of an example that the generator may read, in the longest of them. */
  readonly instruction: number
}

/** Sizes of a batch that pads the tokens in front of the first prompt row, and those behind it, each to the longest. */
export function lateSizes({
  fronts,
  lengths,
  promptRows,
}: {
  /** Tokens of each example in front of its first prompt row. */
  readonly fronts: readonly number[]
  /** Tokens of each example. */
  readonly lengths: readonly number[]
  readonly promptRows: number
}) {
  // A tensor without elements is none to the runtime.
  const front = Math.max(1, ...fronts)
  const longest = Math.max(...lengths.map((length, index) => length - (fronts[index] ?? 0)))
  return { front, longest, rows: front + longest + promptRows }
}

/** Lays out examples with late rows: what stands in front of an example's first row is apart from what is behind. */
export function layOutLate({ read, places, predicting, instruction }: LateBatch) {
  const fronts = places.map(([first = 0]) => first)
  const frontOf = ({ index }: Place) => fronts[index] ?? 0
  const lengths = read.map(({ length }) => length)
  const { front, longest, rows } = lateSizes({ fronts, lengths, promptRows: places[0]?.length ?? 0 })
  const behind = read.map((tokens, index) => tokens.slice(fronts[index]))
  const rowsBefore = ({ index, token }: Place) =>
    (places[index] ?? []).filter((place) => place <= token).length
  const placeOf = (at: Place) => at.index * rows + at.token + rowsBefore(at)
  const behindOf = (at: Place) => at.index * longest + at.token - frontOf(at)
  const everyToken = (count: number, from: (index: number) => number) =>
    read.flatMap((_, index) => numbered(count).map((at) => ({ index, token: from(index) + at })))
  const late: LateLayout = {
    frontTokens: padded(
      read.map((tokens, index) => tokens.slice(0, fronts[index])),
      front,
    ),
    // Padding has places of its own behind the last token: no two rows are written to one place.
    tokenRows: everyToken(longest, (index) => fronts[index] ?? 0).map(placeOf),
    promptRows: places.flatMap((ofExample, index) =>
      ofExample.map((place, row) => index * rows + place + row),
    ),
    instructionRows: everyToken(instruction, () => 0).map((at) => {
      if (at.token < frontOf(at)) return at.index * front + at.token
      const isRead = at.token < (read[at.index]?.length ?? 0)
      return isRead ? read.length * front + behindOf(at) : 0
    }),
  }
  return {
    tokens: padded(behind, longest),
    longest,
    rows,
    attendedRows: predicting.map(placeOf),
    residualRows: predicting.map(behindOf),
    late,
  }
}
