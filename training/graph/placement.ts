import type { GraphBuilder } from '../../model/graph/builder.ts'
import { type Shape, shaped, type Value } from '../../model/graph/values.ts'
import type { AdapterMetadata } from '../../shared/adapter-file.ts'
import type { Example } from '../data/example.ts'
import { type BatchInputs, sizeOf, sizes, toRows, toSequences } from './batch.ts'

type Placement = AdapterMetadata['placement']

/** An example's number of tokens. */
interface ExampleLengths {
  readonly instruction: number
  /** Those of the instruction in front of its newest turn. */
  readonly turn: number
  /** Those of the instruction behind late rows; undefined where the adapter says it. */
  readonly tail?: number | undefined
  readonly response: number
}

/**
 * How many of an example's tokens stand in front of each of its prompt rows, in ascending order: [l_sp]. A graph of the
 * placements `late` and `turn` takes any, those of other placements their own alone.
 */
export type RowPlaces = (example: ExampleLengths) => readonly number[]

/** The rows' places of an adapter as it is served. */
export function rowPlaces({
  l_sp,
  placement,
  tail = 0,
}: Pick<AdapterMetadata, 'l_sp' | 'placement' | 'tail'>): RowPlaces {
  return (example) =>
    Array<number>(l_sp).fill(tokensBefore[placement]({ ...example, tail: example.tail ?? tail }))
}

/** The tokens in front of the rows where they are as many in every example. */
export const fixedBefore = {
  first: 0,
  'after-first': 1,
  turn: undefined,
  late: undefined,
} as const satisfies { readonly [P in Placement]: number | undefined }

const tokensBefore: {
  readonly [P in Placement]: (example: ExampleLengths & { readonly tail: number }) => number
} = {
  first: () => fixedBefore.first,
  'after-first': () => fixedBefore['after-first'],
  // Where nothing stands in front of the newest turn, its rows stand behind the attention sink.
  turn: ({ turn }) => Math.max(1, turn),
  late: ({ instruction, tail }) => instruction - tail,
}

/** Each example's number of tokens. */
export const lengthsOf = ({ instruction, response, tail, turn = 0 }: Example): ExampleLengths => ({
  instruction: instruction.length,
  response: response.length,
  turn,
  tail,
})

/** Rows in front of which as many tokens stand in every example. */
interface Placed {
  readonly batch: BatchInputs
  readonly before: number
  readonly l_sp: number
}

/** Prompt rows [batch or 1, l_sp, width] among a layer's tokens [batch · tokens, width]: [batch · rows, width]. */
export function insertRows(
  g: GraphBuilder,
  { tokens, rows }: { tokens: Value; rows: Value },
  { batch, before, l_sp }: Placed,
): Value {
  const ofEach = repeatedRows(g, rows, { batch, l_sp })
  const sequences = toSequences(g, tokens, batch)
  if (before === 0) return toRows(g, joined(g, [ofEach, sequences], sizes.rows))
  const count = sizeOf(g, batch.tokens, 1)
  const lengths = [g.constant('int64', [before]), g.apply('Sub', [count, g.constant('int64', [before])])]
  const [front = sequences, back = sequences] = parts(g, sequences, lengths)
  return toRows(g, joined(g, [front, ofEach, back], sizes.rows))
}

/** The tokens of a layer's rows [batch · rows, width]: [batch · tokens, width]. */
export function dropRows(g: GraphBuilder, all: Value, { batch, before, l_sp }: Placed): Value {
  const sequences = toSequences(g, all, batch)
  const count = sizeOf(g, batch.tokens, 1)
  const [l, b] = [g.constant('int64', [l_sp]), g.constant('int64', [before])]
  if (before === 0) {
    const [, tokens = sequences] = parts(g, sequences, [l, count])
    return toRows(g, shaped(tokens, [sizes.batch, sizes.tokens, Number(all.shape[1])]))
  }
  const [front = sequences, , back = sequences] = parts(g, sequences, [b, l, g.apply('Sub', [count, b])])
  return toRows(g, joined(g, [front, back], sizes.tokens))
}

/** Prompt rows [batch or 1, l_sp, width] of each example: [batch, l_sp, width]. */
export function repeatedRows(
  g: GraphBuilder,
  rows: Value,
  { batch, l_sp }: Pick<Placed, 'batch' | 'l_sp'>,
): Value {
  const width = Number(rows.shape[2])
  const shape: Shape = [sizes.batch, l_sp, width]
  if (rows.shape[0] !== 1) return shaped(rows, shape)
  const each = g.constant('int64', [l_sp, width])
  return shaped(
    g.apply('Expand', [rows, g.apply('Concat', [sizeOf(g, batch.tokens, 0), each], { axis: 0 })]),
    shape,
  )
}

function joined(g: GraphBuilder, sequences: Value[], length: string): Value {
  const width = Number(sequences[0]?.shape[2])
  return shaped(g.apply('Concat', sequences, { axis: 1 }), [sizes.batch, length, width])
}

/** Consecutive rows of each sequence. `lengths`: int64 [1] each. */
function parts(g: GraphBuilder, sequences: Value, lengths: Value[]): Value[] {
  const width = Number(sequences.shape[2])
  const split = g.applyAll('Split', [sequences, g.apply('Concat', lengths, { axis: 0 })], { axis: 1 })
  return split.map((part, index) => shaped(part, [sizes.batch, `part.${index}`, width]))
}
