import { type AdapterMetadata, carriedFrom } from '../../shared/adapter-file.ts'
import type { Stretch } from '../data/runs.ts'
import { type LateLayout, lateSizes, layOutLate } from './late-layout.ts'
import { fixedBefore, lengthsOf, type RowPlaces, rowPlaces } from './placement.ts'
import { type Reading, readingOf } from './reading.ts'
import { type Place, padded } from './token-places.ts'

/** A batch as the numbers that the training graph's inputs hold; shapes as in `BatchInputs`. */
export interface BatchLayout extends Reading {
  /** [batch, longest] */
  readonly tokens: number[]
  readonly longest: number
  /** Rows of a layer's sequence, padding included. */
  readonly rows: number
  readonly attendedRows: number[]
  readonly residualRows: number[]
  readonly targets: number[]
  readonly late: LateLayout | undefined
}

/** Rows of a layer's sequences, padding included, that `layOut` would give. */
export function rowsOfRun(
  batch: readonly Stretch[],
  metadata: AdapterMetadata,
  placesOf: RowPlaces = rowPlaces(metadata),
): number {
  const lengths = batch.map(({ instruction, response }) => instruction.length + response.length - 1)
  const { l_sp, placement } = metadata
  if (fixedBefore[placement] !== undefined) return Math.max(...lengths) + l_sp
  const fronts = batch.map((example) => placesOf(lengthsOf(example))[0] ?? 0)
  return lateSizes({ fronts, lengths, promptRows: l_sp }).rows
}

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
  const predicting: readonly Place[] = batch.flatMap(({ instruction, response, unscored = 0 }, index) =>
    response.slice(unscored).map((_, at) => ({ index, token: instruction.length - 1 + unscored + at })),
  )
  const targets = batch.flatMap(({ response, unscored = 0 }) => response.slice(unscored))
  const reading = readingOf(batch, metadata)
  const { l_sp = 0, placement = 'first' } = metadata ?? {}
  const before = fixedBefore[placement]
  if (before === undefined && placesOf !== undefined) {
    const places = batch.map((example) => placesOf(lengthsOf(example)))
    return { ...reading, ...layOutLate({ read, places, predicting, ...reading }), targets }
  }
  const longest = Math.max(...read.map(({ length }) => length))
  const carries = metadata !== undefined && carriedFrom(metadata) !== undefined
  const withRows = ({ index, token }: Place) =>
    index * (longest + l_sp) + token + (token < (before ?? 0) ? 0 : l_sp)
  const plain = ({ index, token }: Place) => index * longest + token
  return {
    ...reading,
    tokens: padded(read, longest),
    longest,
    rows: longest + l_sp,
    attendedRows: predicting.map(withRows),
    residualRows: predicting.map(carries ? withRows : plain),
    targets,
    late: undefined,
  }
}
