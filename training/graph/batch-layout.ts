import { type AdapterMetadata, carriedFrom } from '../../shared/adapter-file.ts'
import type { Stretch } from '../data/runs.ts'
import { type RowPlaces, rowPlaces } from './placement.ts'

/** A batch as the numbers that the training graph's inputs hold; shapes as in `BatchInputs`. */
export interface BatchLayout {
  /** [batch, longest] */
  readonly tokens: number[]
  readonly longest: number
  readonly attendedRows: number[]
  readonly residualRows: number[]
  readonly targets: number[]
  /** [batch · (longest + l_sp)] */
  readonly order: number[]
  /** [batch · longest] */
  readonly tokenRows: number[]
  /** Tokens up to the end of the longest instruction as the generator reads it. */
  readonly instruction: number
  /** [batch, instruction] */
  readonly mask: Float32Array
  /** [batch, instruction] */
  readonly share: Float32Array
}

/** The score outside an instruction: e to it is 0. */
const masked = -1e30

/**
 * Lays out right-padded examples. The token before each response token predicts it, so an example's last token is
 * not read.
 */
export function layOut(
  batch: readonly Stretch[],
  metadata: AdapterMetadata | undefined,
  placesOf: RowPlaces | undefined = metadata && rowPlaces(metadata),
): BatchLayout {
  const read = batch.map(({ instruction, response }) => [...instruction, ...response.slice(0, -1)])
  const longest = Math.max(...read.map(({ length }) => length))
  const { l_sp = 0, placement = 'first', tail = 0 } = metadata ?? {}
  const carries = metadata !== undefined && carriedFrom(metadata) !== undefined
  const window = metadata !== undefined && 'window' in metadata ? metadata.window : 1
  const places = batch.map(({ instruction, response }) =>
    placesOf === undefined ? [] : placesOf({ instruction: instruction.length, response: response.length }),
  )
  const predicting = batch.flatMap(({ instruction, response, unscored = 0 }, index) =>
    response.slice(unscored).map((_, at) => ({ index, token: instruction.length - 1 + unscored + at })),
  )
  const rowsBefore = ({ index, token }: Place) =>
    (places[index] ?? []).filter((place) => place <= token).length
  const withRows = (at: Place) => at.index * (longest + l_sp) + at.token + rowsBefore(at)
  const plain = ({ index, token }: Place) => index * longest + token
  const everyToken = batch.flatMap((_, index) => numbered(longest).map((token) => ({ index, token })))
  const order = Array<number>(batch.length * (longest + l_sp)).fill(0)
  for (const token of everyToken) order[withRows(token)] = plain(token)
  for (const [index, ofExample] of places.entries())
    for (const [row, place] of ofExample.entries())
      order[index * (longest + l_sp) + place + row] = batch.length * longest + index * l_sp + row
  // Each generator reads the first tokens, or the last in front of late rows.
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
    tokens: read.flatMap((ids) => [...ids, ...Array<number>(longest - ids.length).fill(0)]),
    longest,
    attendedRows: predicting.map(withRows),
    residualRows: predicting.map(carries ? withRows : plain),
    targets: batch.flatMap(({ response, unscored = 0 }) => response.slice(unscored)),
    order,
    tokenRows: everyToken.map(withRows),
    instruction: widest,
    mask: perToken(() => 0, masked),
    share: perToken((length) => 1 / length, 0),
  }
}

/** A token of an example of the batch. */
interface Place {
  readonly index: number
  readonly token: number
}

const numbered = (count: number) => Array.from({ length: count }, (_, at) => at)
