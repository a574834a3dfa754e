import type { Graph, OnnxAttribute } from './graph.ts'
import type { ElementType, Value, ValueType } from './values.ts'

/**
 * The ops a graph is written in, with the inputs, the attributes and the outputs of each. They are ONNX's
 * (https://onnx.ai/onnx/operators) and ONNX Runtime's own (`com.microsoft`,
 * https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md). A new op is one line of `Ops` and the
 * row of `opRows` that the compiler then asks for.
 */
export interface Ops {
  Abs: Op<[x: Value]>
  Add: Op<[a: Value, b: Value]>
  Cast: Op<[x: Value], { to: ElementType }>
  Concat: Op<Value[], { axis: number }>
  Div: Op<[a: Value, b: Value]>
  /** A tensor of zeros. */
  ConstantOfShape: Op<[shape: Value]>
  Equal: Op<[a: Value, b: Value]>
  Erf: Op<[x: Value]>
  Exp: Op<[x: Value]>
  /** Repeats x along the axes where it has the size 1. */
  Expand: Op<[x: Value, shape: Value]>
  /** alpha · a·b over the last two axes, either transposed first. */
  FusedMatMul: Op<[a: Value, b: Value], { transA: number; transB: number; alpha: number }>
  Gather: Op<[data: Value, indices: Value], { axis: number }>
  /** Slices of `data` at `indices` [n, k], each naming the first k axes: the opposite of ScatterND. */
  GatherND: Op<[data: Value, indices: Value]>
  /** a·b, either of them transposed. */
  Gemm: Op<[a: Value, b: Value], { transA?: number; transB: number }>
  /** a·b + c, or a·bᵀ + c. */
  GemmAdd: Op<[a: Value, b: Value, c: Value], { transB: number }>
  GroupQueryAttention: Op<
    [
      qkvOrQ: Value,
      key: Value | undefined,
      value: Value | undefined,
      pastKey: Value | undefined,
      pastValue: Value | undefined,
      lastRow: Value,
      totalRows: Value,
      cos: Value | undefined,
      sin: Value | undefined,
      /** int64 [batch, rows]: rows of cos and sin; the rows' own positions when left out. */
      positions: Value | undefined,
      /** Added to the scores, [batch or 1, heads or 1, rows, totalRows]. */
      bias: Value | undefined,
    ],
    { num_heads: number; kv_num_heads: number; do_rotary: number; scale?: number; softcap?: number },
    [attended: ValueType, key: ValueType, value: ValueType]
  >
  Identity: Op<[x: Value]>
  If: Op<[condition: Value], { then_branch: Graph; else_branch: Graph }, ValueType[]>
  /** a < b */
  Less: Op<[a: Value, b: Value]>
  MatMul: Op<[a: Value, b: Value]>
  /** a·bᵀ for a matrix b [N, K] in blocks of integers with a scale each, and a zero point: half the range where none is given. */
  MatMulNBits: Op<
    [a: Value, b: Value, scales: Value, zeroPoints?: Value],
    { K: number; N: number; bits: number; block_size: number; accuracy_level: number }
  >
  /** Element-wise, of integers too. */
  Max: Op<[a: Value, b: Value]>
  /** The remainder of integers, with the sign of b. */
  Mod: Op<[a: Value, b: Value]>
  Mul: Op<[a: Value, b: Value]>
  Or: Op<[a: Value, b: Value]>
  /** Zeros around x: `pads` are those before and those behind, along these axes. */
  Pad: Op<[x: Value, pads: Value, value: undefined, axes: Value]>
  /** x^exponent, element-wise. */
  Pow: Op<[x: Value, exponent: Value]>
  /** x · sigmoid(alpha · x) */
  QuickGelu: Op<[x: Value], { alpha: number }>
  /** start, start + step, … below limit. */
  Range: Op<[start: Value, limit: Value, step: Value]>
  /** log Σ exp x */
  ReduceLogSumExp: Op<[x: Value, axes: Value], { keepdims: number }>
  ReduceMax: Op<[x: Value, axes: Value], { keepdims: number }>
  ReduceSum: Op<[x: Value, axes: Value], { keepdims: number }>
  ReduceSumSquare: Op<[x: Value, axes: Value], { keepdims: number }>
  Relu: Op<[x: Value]>
  Reshape: Op<[x: Value, shape: Value]>
  /**
   * Rotary positions, rotate-half order, of x [batch, rows, heads · headDim]: from a position on, int64 [1], or at the rows of
   * cos and sin that are named, int64 [batch, rows].
   */
  RotaryEmbedding: Op<
    [x: Value, positions: Value, cos: Value, sin: Value],
    { interleaved: number; num_heads: number; rotary_embedding_dim: number }
  >
  /** A copy of `data` with the slices at `indices` replaced by `updates`. */
  ScatterND: Op<[data: Value, indices: Value, updates: Value]>
  /** A copy of `data` with the updates added to the slices at `indices`, which may repeat. */
  ScatterAddND: Op<[data: Value, indices: Value, updates: Value]>
  Shape: Op<[x: Value]>
  Sigmoid: Op<[x: Value]>
  Sign: Op<[x: Value]>
  /** x / sqrt(mean(x²) + epsilon) · scale */
  SimplifiedLayerNormalization: Op<[x: Value, scale: Value], { axis: number; epsilon: number }>
  /** The same of x + skip, and x + skip itself. */
  SkipSimplifiedLayerNormalization: Op<
    [x: Value, skip: Value, scale: Value],
    { epsilon: number },
    [normed: ValueType, mean: undefined, inverse: undefined, sum: ValueType]
  >
  Slice: Op<[x: Value, starts: Value, ends: Value, axes: Value]>
  Softmax: Op<[x: Value], { axis: number }>
  /** Into equal parts. */
  Split: Op<[x: Value, sizes: Value], { axis: number }, ValueType[]>
  Squeeze: Op<[x: Value, axes: Value]>
  Sub: Op<[a: Value, b: Value]>
  Tanh: Op<[x: Value]>
  Transpose: Op<[x: Value], { perm: readonly number[] }>
  /** x [n, n] with zeros below its diagonal number k. */
  Trilu: Op<[x: Value, k: Value], { upper: number }>
  Unsqueeze: Op<[x: Value, axes: Value]>
  /** a where the condition holds, else b. */
  Where: Op<[condition: Value, a: Value, b: Value]>
}
export type OpName = keyof Ops

interface Op<
  Inputs extends readonly (Value | undefined)[],
  Attributes extends Readonly<Record<string, OnnxAttribute>> = Record<never, never>,
  Outputs extends readonly (ValueType | undefined)[] = [ValueType],
> {
  readonly inputs: Inputs
  readonly attributes: Attributes
  readonly outputs: Outputs
}

export type AttributeKind = 'int' | 'float' | 'ints' | 'type' | 'graph'
