import { type AdapterMetadata, carriedFrom } from '../../shared/adapter-file.ts'
import type { Stretch } from '../data/runs.ts'
import { tokensBefore } from './placement.ts'

/** A batch as the numbers that the training graph's inputs hold; shapes as in `BatchInputs`. */
export interface BatchLayout {
  /** [batch, longest] */
  readonly tokens: number[]
  readonly longest: number
  readonly attendedRows: number[]
  readonly residualRows: number[]
  readonly targets: number[]
  /** Tokens of the longest instruction as the generator reads it. */
  readonly instruction: number
  /** [batch, instruction] */
  readonly mask: Float32Array
  /** [batch, instruction] */
  readonly share: Float32Array
}

/** What a score gets behind an instruction: e to it is 0. */
const masked = -1e30

/**
 * Lays out right-padded examples. The token before each response token predicts it, so an example's last token is
 * not read.
 */
export function layOut(batch: readonly Stretch[], metadata: AdapterMetadata | undefined): BatchLayout {
  const read = batch.map(({ instruction, response }) => [...instruction, ...response.slice(0, -1)])
  const longest = Math.max(...read.map(({ length }) => length))
  const l_sp = metadata?.l_sp ?? 0
  const before = tokensBefore[metadata?.placement ?? 'first']
  const carries = metadata !== undefined && carriedFrom(metadata) !== undefined
  const window = metadata !== undefined && 'window' in metadata ? metadata.window : 1
  const predicting = batch.flatMap(({ instruction, response, unscored = 0 }, index) =>
    response.slice(unscored).map((_, at) => ({ index, token: instruction.length - 1 + unscored + at })),
  )
  const withRows = ({ index, token }: { index: number; token: number }) =>
    index * (longest + l_sp) + (token < before ? token : token + l_sp)
  const plain = ({ index, token }: { index: number; token: number }) => index * longest + token
  const lengths = batch.map(({ instruction }) => Math.min(instruction.length, window))
  const widest = Math.max(...lengths)
  const perToken = (inside: (length: number) => number, behind: number) =>
    Float32Array.from(
      lengths.flatMap((length) =>
        Array.from({ length: widest }, (_, at) => (at < length ? inside(length) : behind)),
      ),
    )
  return {
    tokens: read.flatMap((ids) => [...ids, ...Array<number>(longest - ids.length).fill(0)]),
    longest,
    attendedRows: predicting.map(withRows),
    residualRows: predicting.map(carries ? withRows : plain),
    targets: batch.flatMap(({ response, unscored = 0 }) => response.slice(unscored)),
    instruction: widest,
    mask: perToken(() => 0, masked),
    share: perToken((length) => 1 / length, 0),
  }
}
