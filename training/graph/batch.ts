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
  readonly late: LateInputs
}

/**
 * The inputs of a graph with late rows or those of a newest turn. The tokens in front of an example's first prompt row
 * are its front: they see no prompt row, so nothing of them depends on the adapter. `tokens` are then those behind. A
 * layer's sequence has the front, padded to the longest one; the prompt rows and tokens behind it are written over that
 * padding.
 */
interface LateInputs {
  /** int64 [batch, front] */
  readonly frontTokens: Value
  /** int64 [n, 1]: the place of each token behind the front among all rows of a layer. */
  readonly tokenRows: Value
  /** int64 [batch · l_sp, 1]: the place of each prompt row. */
  readonly promptRows: Value
  /** int64 [batch, instruction]: what the generator reads, counted among all fronts with all `tokens` behind them. */
  readonly instructionRows: Value
}

export const batchInputNames = {
  tokens: 'tokens',
  attendedRows: 'attended_rows',
  residualRows: 'residual_rows',
  targets: 'targets',
  frontTokens: 'front_tokens',
  tokenRows: 'token_rows',
  promptRows: 'prompt_rows',
  instructionRows: 'instruction_rows',
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
    late: {
      frontTokens: g.input(batchInputNames.frontTokens, 'int64', [sizes.batch, sizes.front]),
      tokenRows: g.input(batchInputNames.tokenRows, 'int64', [sizes.allTokens, 1]),
      promptRows: g.input(batchInputNames.promptRows, 'int64', [sizes.allPromptRows, 1]),
      instructionRows: g.input(batchInputNames.instructionRows, 'int64', [sizes.batch, sizes.instruction]),
    },
  }
}

/**
 * Names of sizes that mean the same number wherever a training graph uses them. The runtime, told of them, sees which
 * tensors may follow each other in one place.
 */
export const sizes = {
  batch: 'batch',
  /** Tokens of the longest example; of late rows, of the longest stretch behind a front. */
  tokens: 'tokens',
  /** batch · tokens */
  allTokens: 'n',
  /** Tokens of the longest front. */
  front: 'front',
  /** batch · front */
  allFront: 'all_front',
  /** front + tokens + l_sp */
  rows: 'layer_rows',
  /** batch · (front + tokens + l_sp) */
  allRows: 'all_rows',
  /** batch · l_sp */
  allPromptRows: 'all_prompt_rows',
  lossRows: 'loss_rows',
  instruction: 'instruction',
  /** Pooled vectors of a batch. */
  vectors: 'vectors',
} as const

/** int64 [1]: the size of x along an axis. */
export function sizeOf(g: GraphBuilder, x: Value, axis: number): Value {
  return g.apply('Gather', [g.apply('Shape', [x]), g.constant('int64', [axis])], { axis: 0 })
}

/** The length of a sequence for each number of rows that a batch of them has. */
const lengths: Readonly<Record<string, string>> = {
  [sizes.allTokens]: sizes.tokens,
  [sizes.allFront]: sizes.front,
  [sizes.allRows]: sizes.rows,
}

/** [n, width] → [batch, tokens, width]; rows of fronts and of layers too. */
export function toSequences(g: GraphBuilder, x: Value, { tokens }: Pick<BatchInputs, 'tokens'>): Value {
  const width = Number(x.shape[1])
  const to = g.apply('Concat', [sizeOf(g, tokens, 0), g.constant('int64', [-1, width])], { axis: 0 })
  return shaped(g.apply('Reshape', [x, to]), [sizes.batch, lengths[String(x.shape[0])] ?? sizes.rows, width])
}

/** The opposite of `toSequences`. */
export function toRows(g: GraphBuilder, x: Value): Value {
  const [, length, width] = x.shape
  const count = Object.entries(lengths).find(([, each]) => each === length)?.[0] ?? sizes.allRows
  return shaped(g.apply('Reshape', [x, g.constant('int64', [-1, Number(width)])]), [count, Number(width)])
}

/** The positions that the layers of one length of sequence share. */
export interface SequenceRows {
  readonly sequences: AttentionContext['sequences']
  /** int32 [batch] */
  readonly lastRow: Value
  /** int32 scalar */
  readonly totalRows: Value
}

/** The inputs of sequences as long as those of `parts` [batch, tokens] together, with so many prompt rows. */
export function sequenceRows(
  g: GraphBuilder,
  parts: readonly [Value, ...Value[]],
  promptRows: number,
): SequenceRows {
  const int32 = (x: Value) => g.apply('Cast', [x], { to: 'int32' })
  const batch = sizeOf(g, parts[0], 0)
  const tokens = parts.map((part) => sizeOf(g, part, 1)).reduce((sum, size) => g.apply('Add', [sum, size]))
  const last = g.apply('Add', [tokens, g.constant('int64', [promptRows - 1])])
  const total = g.apply('Add', [last, g.constant('int64', [1])])
  const scalar: Shape = []
  return {
    sequences: sequenceShapes(g, batch),
    lastRow: int32(shaped(g.apply('Expand', [last, batch]), [sizes.batch])),
    totalRows: int32(shaped(g.apply('Squeeze', [total, g.constant('int64', [0])]), scalar)),
  }
}
