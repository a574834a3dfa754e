import type { ModelConfig } from '../../shared/backbone.ts'
import type { GraphBuilder } from './builder.ts'
import { type Norm, rmsNorm } from './norm.ts'
import type { RotaryTables } from './rotary-table.ts'
import { dimAt, type Shape, shaped, type Value } from './values.ts'

/** Where a layer's rows stand in their sequences, and the rows cached before them. */
export interface AttentionContext {
  readonly config: ModelConfig
  /** int64 [3]: batch, -1 and this width; splits rows [n, width] into sequences. */
  readonly sequences: (width: number) => Value
  /** int32 [batch]: position of each sequence's last row. */
  readonly lastRow: Value
  /** int32 scalar: rows of the longest sequence, cached ones included. */
  readonly totalRows: Value
  /** One for each of the config's `rotary`. */
  readonly rotary: readonly RotaryTables[]
  /** int32 [batch] or [1]: each sequence's first rows, which stay in view whatever the window. */
  readonly prefixRows?: Value | undefined
  /** [batch, kvHeads, capacity, headDim] each. */
  readonly past: { readonly key: Value; readonly value: Value } | undefined
}

/** `sequences` of so many sequences, int64 [1]; each width's shape is made once. */
export function sequenceShapes(g: GraphBuilder, batch: Value): AttentionContext['sequences'] {
  const shapes = new Map<number, Value>()
  return (width) => {
    const known = shapes.get(width)
    if (known !== undefined) return known
    const shape = g.apply('Concat', [batch, g.constant('int64', [-1, width])], { axis: 0 })
    shapes.set(width, shape)
    return shape
  }
}

interface Attending {
  readonly context: AttentionContext
  readonly layer: number
  readonly qNorm: Norm | undefined
  readonly kNorm: Norm | undefined
}

/** Causal self-attention over the rows qkv [n, width] of one layer: [n, heads · headDim] and the new cache. */
export function attend(
  g: GraphBuilder,
  qkv: Value,
  { context, layer, qNorm, kNorm }: Attending,
): { attended: Value; key: Value; value: Value } {
  const { config, past, lastRow, totalRows } = context
  const { heads, kvHeads, headDim, attention } = config
  const { rotary, window } = attention?.[layer] ?? { rotary: 0, window: null }
  const tables = rotary === null ? undefined : context.rotary[rotary]
  const positionsOf = (sequences: Value, offset: Value) =>
    positionsIn(g, offset, { lastRow, rows: sizeAt(g, sequences, 1) })
  // Of whole sequences the op would turn all by the positions of the first.
  const turn =
    past === undefined && tables?.offset !== undefined
      ? { tables, positions: positionsOf(toSequences(g, qkv, context), tables.offset) }
      : undefined
  const inputs = attentionInputs(g, qkv, { context, qNorm, kNorm, turn })
  const [packed] = inputs
  const [attended, key, value] = g.applyAll(
    'GroupQueryAttention',
    [
      ...inputs,
      past?.key,
      past?.value,
      lastRow,
      totalRows,
      ...(turn === undefined
        ? ([tables?.cos, tables?.sin, tables?.offset && positionsOf(packed, tables.offset)] as const)
        : ([undefined, undefined, undefined] as const)),
      window === null ? undefined : windowBias(g, { window, rows: sizeAt(g, packed, 1), context }),
    ],
    {
      num_heads: heads,
      kv_num_heads: kvHeads,
      do_rotary: tables === undefined || turn !== undefined ? 0 : 1,
      ...(config.attentionScale === undefined ? {} : { scale: config.attentionScale }),
      ...(config.attentionCap === undefined ? {} : { softcap: config.attentionCap }),
    },
  )
  const flat = g.apply('Reshape', [attended, g.constant('int64', [-1, heads * headDim])])
  return { attended: shaped(flat, ['rows', heads * headDim]), key, value }
}

/** Rotary tables, and int64 [batch, rows]: the row of the tables for each row of the sequences. */
interface Turn {
  readonly tables: RotaryTables
  readonly positions: Value
}

/** q, k and v as sequences: in one tensor, or in three where q and k are normed or turned first. */
function attentionInputs(
  g: GraphBuilder,
  qkv: Value,
  { context, qNorm, kNorm, turn }: Omit<Attending, 'layer'> & { turn: Turn | undefined },
): readonly [q: Value, k: Value | undefined, v: Value | undefined] {
  const { heads, kvHeads, headDim } = context.config
  if (qNorm === undefined && kNorm === undefined && turn === undefined)
    return [toSequences(g, qkv, context), undefined, undefined]
  const [qWidth, kvWidth] = [heads * headDim, kvHeads * headDim]
  const stretch = (from: number, width: number) => {
    const at = (place: number) => g.constant('int64', [place])
    return shaped(g.apply('Slice', [qkv, at(from), at(from + width), at(1)]), [dimAt(qkv.shape, 0), width])
  }
  const ready = (x: Value, norm: Norm | undefined) => {
    const width = Number(dimAt(x.shape, 1))
    const sequences = toSequences(g, norm ? normHeads(g, x, { norm, width }) : x, context)
    return turn ? turned(g, sequences, { ...turn, heads: width / headDim }) : sequences
  }
  return [
    ready(stretch(0, qWidth), qNorm),
    ready(stretch(qWidth, kvWidth), kNorm),
    toSequences(g, stretch(qWidth + kvWidth, kvWidth), context),
  ]
}

/** Rotary positions of x [batch, rows, heads · headDim]. */
function turned(
  g: GraphBuilder,
  x: Value,
  { tables: { cos, sin }, positions, heads }: Turn & { heads: number },
): Value {
  return g.apply('RotaryEmbedding', [x, positions, cos, sin], {
    interleaved: 0,
    num_heads: heads,
    rotary_embedding_dim: 2 * Number(dimAt(cos.shape, 1)),
  })
}

/** Norms x [n, width] as a whole, or each stretch of it that is as long as the norm's weight. */
function normHeads(g: GraphBuilder, x: Value, { norm, width }: { norm: Norm; width: number }): Value {
  const each = Number(dimAt(norm.weight.shape, 0))
  if (each === width) return rmsNorm(g, x, norm)
  const split = shaped(g.apply('Reshape', [x, g.constant('int64', [-1, each])]), ['heads', each])
  const joined = g.apply('Reshape', [rmsNorm(g, split, norm), g.constant('int64', [-1, width])])
  return shaped(joined, x.shape)
}

/** [n, width] → [batch, rows, width] */
function toSequences(g: GraphBuilder, x: Value, { sequences }: AttentionContext): Value {
  const width = Number(dimAt(x.shape, 1))
  const shape: Shape = ['batch', 'rows', width]
  return shaped(g.apply('Reshape', [x, sequences(width)]), shape)
}

/** int32 scalar: the size of x along an axis. */
function sizeAt(g: GraphBuilder, x: Value, axis: number): Value {
  const size = g.apply('Gather', [g.apply('Shape', [x]), g.constant('int64', [axis], [])], { axis: 0 })
  return g.apply('Cast', [size], { to: 'int32' })
}

/** int32 [batch, rows]: the position of each row in its sequence. */
function rowPositions(g: GraphBuilder, { lastRow, rows }: { lastRow: Value; rows: Value }): Value {
  const one = g.constant('int32', [1], [])
  const behind = g.apply('Range', [g.apply('Sub', [one, rows]), one, one])
  const last = shaped(g.apply('Unsqueeze', [lastRow, g.constant('int64', [1])]), ['batch', 1])
  const positions = g.apply('Add', [last, shaped(behind, ['rows'])])
  return shaped(positions, ['batch', 'rows'])
}

/** int64 [batch, rows]: which row of the tables each row's angles are. */
function positionsIn(g: GraphBuilder, offset: Value, of: { lastRow: Value; rows: Value }): Value {
  const column = shaped(g.apply('Unsqueeze', [offset, g.constant('int64', [1])]), ['batch', 1])
  const places = g.apply('Add', [rowPositions(g, of), column])
  return shaped(g.apply('Cast', [places], { to: 'int64' }), ['batch', 'rows'])
}

/** Added to a score that no token may see: e to it is 0. */
const hidden = -1e30

/**
 * f32 [batch, 1, rows, seen rows]: 0 where a row sees another, which is less than `window` rows before it or one of
 * the sequence's `prefixRows`. That it sees none behind it is the attention's own rule.
 */
function windowBias(
  g: GraphBuilder,
  { window, rows, context }: { window: number; rows: Value; context: AttentionContext },
): Value {
  const { lastRow, totalRows, prefixRows } = context
  const axes = g.constant('int64', [2])
  const queries = shaped(g.apply('Unsqueeze', [rowPositions(g, { lastRow, rows }), axes]), [
    'batch',
    'rows',
    1,
  ])
  const keys = shaped(
    g.apply('Range', [g.constant('int32', [0], []), totalRows, g.constant('int32', [1], [])]),
    ['seen_rows'],
  )
  const edge = g.apply('Sub', [queries, g.constant('int32', [window], [])])
  const near = g.apply('Less', [edge, keys])
  const seen =
    prefixRows === undefined
      ? near
      : g.apply('Or', [
          near,
          g.apply('Less', [
            keys,
            shaped(g.apply('Unsqueeze', [prefixRows, g.constant('int64', [1, 2])]), ['batch', 1, 1]),
          ]),
        ])
  const bias = g.apply('Where', [seen, g.constant('float32', [0], []), g.constant('float32', [hidden], [])])
  return shaped(g.apply('Unsqueeze', [bias, g.constant('int64', [1])]), ['batch', 1, 'rows', 'seen_rows'])
}
