import { type AttentionContext, sequenceShapes } from '../../model/graph/attention.ts'
import type { GraphBuilder } from '../../model/graph/builder.ts'
import { type Shape, shaped, type Value } from '../../model/graph/values.ts'

/**
 * The graph inputs that describe a batch of examples, padded on the right to the longest: causal attention lets no
 * token see the padding, and no loss is taken from it.
 */
export interface BatchInputs {
  /** int64 [batch, tokens] */
  readonly tokens: Value
  /** int64 [r]: the rows that predict a response token, among all rows of the last layer's attention. */
  readonly attendedRows: Value
  /** int64 [r]: the same rows in the residual stream that enters the last layer. */
  readonly residualRows: Value
  /** int64 [r]: the tokens to predict. */
  readonly targets: Value
  /**
   * For late rows: int64 [all rows]. The row at each place of a layer's sequences, counted among all tokens with all
   * prompt rows behind them.
   */
  readonly order: Value
  /** int64 [n], for late rows: the place of each token among those. */
  readonly tokenRows: Value
}

export const batchInputNames = {
  tokens: 'tokens',
  attendedRows: 'attended_rows',
  residualRows: 'residual_rows',
  targets: 'targets',
  order: 'order',
  tokenRows: 'token_rows',
  instructionMask: 'instruction_mask',
  instructionShare: 'instruction_share',
  anchors: 'anchors',
} as const

export function batchInputs(g: GraphBuilder): BatchInputs {
  const rows = (name: string) => g.input(name, 'int64', [sizes.lossRows])
  return {
    tokens: g.input(batchInputNames.tokens, 'int64', [sizes.batch, sizes.tokens]),
    attendedRows: rows(batchInputNames.attendedRows),
    residualRows: rows(batchInputNames.residualRows),
    targets: rows(batchInputNames.targets),
    order: g.input(batchInputNames.order, 'int64', [sizes.allRows]),
    tokenRows: g.input(batchInputNames.tokenRows, 'int64', [sizes.allTokens]),
  }
}

/**
 * Names of sizes that mean the same number wherever a training graph uses them. The runtime, told of them, sees which
 * tensors may follow each other in one place.
 */
export const sizes = {
  batch: 'batch',
  /** Tokens of the longest example. */
  tokens: 'tokens',
  /** batch · tokens */
  allTokens: 'n',
  /** tokens + l_sp */
  rows: 'layer_rows',
  /** batch · (tokens + l_sp) */
  allRows: 'all_rows',
  lossRows: 'loss_rows',
  instruction: 'instruction',
  /** Pooled vectors of a batch. */
  vectors: 'vectors',
} as const

/** int64 [1]: the size of x along an axis. */
export function sizeOf(g: GraphBuilder, x: Value, axis: number): Value {
  return g.apply('Gather', [g.apply('Shape', [x]), g.constant('int64', [axis])], { axis: 0 })
}

/** [n, width] → [batch, tokens, width], [all rows, width] → [batch, rows, width] */
export function toSequences(g: GraphBuilder, x: Value, { tokens }: BatchInputs): Value {
  const width = Number(x.shape[1])
  const to = g.apply('Concat', [sizeOf(g, tokens, 0), g.constant('int64', [-1, width])], { axis: 0 })
  const length = x.shape[0] === sizes.allTokens ? sizes.tokens : sizes.rows
  return shaped(g.apply('Reshape', [x, to]), [sizes.batch, length, width])
}

/** The opposite of `toSequences`. */
export function toRows(g: GraphBuilder, x: Value): Value {
  const width = Number(x.shape[2])
  const count = x.shape[1] === sizes.tokens ? sizes.allTokens : sizes.allRows
  return shaped(g.apply('Reshape', [x, g.constant('int64', [-1, width])]), [count, width])
}

/** The positions that the layers of one length of sequence share. */
export interface SequenceRows {
  readonly sequences: AttentionContext['sequences']
  /** int32 [batch] */
  readonly lastRow: Value
  /** int32 scalar */
  readonly totalRows: Value
}

/** The inputs of sequences that have `promptRows` rows more than tokens. */
export function sequenceRows(g: GraphBuilder, { tokens }: BatchInputs, promptRows: number): SequenceRows {
  const int32 = (x: Value) => g.apply('Cast', [x], { to: 'int32' })
  const batch = sizeOf(g, tokens, 0)
  const last = g.apply('Add', [sizeOf(g, tokens, 1), g.constant('int64', [promptRows - 1])])
  const total = g.apply('Add', [last, g.constant('int64', [1])])
  const scalar: Shape = []
  return {
    sequences: sequenceShapes(g, batch),
    lastRow: int32(shaped(g.apply('Expand', [last, batch]), [sizes.batch])),
    totalRows: int32(shaped(g.apply('Squeeze', [total, g.constant('int64', [0])]), scalar)),
  }
}
