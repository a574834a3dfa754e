import type { AttributeKind, OpName, Ops } from './ops.ts'
import { broadcast, type Dim, dimAt, unknownDim, type Value, type ValueType, withDims } from './values.ts'

interface OpRow<N extends OpName> {
  readonly domain?: 'com.microsoft'
  /** The operator's own name, and attributes that are always the same, where it is one of the uses of an operator. */
  readonly operator?: { readonly name: string; readonly fixed: Readonly<Record<string, string>> }
  readonly attributes: { readonly [A in keyof Ops[N]['attributes']]: AttributeKind }
  /** Types of the outputs; undefined for one that is left out. Throws when the inputs do not fit. */
  outputs(inputs: Ops[N]['inputs'], attributes: Ops[N]['attributes']): Ops[N]['outputs']
}

const same = (x: Value): [ValueType] => [{ type: x.type, shape: x.shape }]
const unary = { attributes: {}, outputs: ([x]: [Value]) => same(x) }
const binary = {
  attributes: {},
  outputs: ([a, b]: [Value, Value]): [ValueType] => {
    if (a.type !== b.type) throw new Error(`${a.name} is ${a.type} and ${b.name} ${b.type}`)
    return [{ type: a.type, shape: broadcast(a.shape, b.shape) }]
  },
}

const comparison = {
  attributes: {},
  outputs: ([a, b]: [Value, Value]): [ValueType] => [{ type: 'bool', shape: broadcast(a.shape, b.shape) }],
}

function mustEqual(a: Dim, b: Dim, what: string): void {
  if (typeof a === 'number' && typeof b === 'number' && a !== b) throw new Error(`${what}: ${a} is not ${b}`)
}

const unknownShape = (rank: number) => Array.from({ length: rank }, () => unknownDim)

/** Matrices over the last two axes, broadcast over those in front. */
function product(a: Value, b: Value): [ValueType] {
  mustEqual(dimAt(a.shape, -1), dimAt(b.shape, -2), `${a.name} times ${b.name}`)
  const batch = broadcast(a.shape.slice(0, -2), b.shape.slice(0, -2))
  return [{ type: a.type, shape: [...batch, dimAt(a.shape, -2), dimAt(b.shape, -1)] }]
}

/** `x` as it stands in a product: with its last two axes swapped when `transposed` is 1. */
function turned(x: Value, transposed: number): Value {
  if (transposed === 0) return x
  return { ...x, shape: [...x.shape.slice(0, -2), dimAt(x.shape, -1), dimAt(x.shape, -2)] }
}

/** The number of integers in a one-dimensional value. */
function lengthOf(value: Value): number {
  const [length] = value.shape
  if (typeof length !== 'number') throw new Error(`${value.name} must have a fixed length`)
  return length
}

const reduction = {
  attributes: { keepdims: 'int' },
  outputs: ([x, axes]: [Value, Value], { keepdims }: { keepdims: number }): [ValueType] => [
    { type: x.type, shape: unknownShape(keepdims ? x.shape.length : x.shape.length - lengthOf(axes)) },
  ],
} as const

/** How each op is encoded, and how its outputs' types follow from its inputs. */
export const opRows: { readonly [N in OpName]: OpRow<N> } = {
  Abs: unary,
  Add: binary,
  Cast: { attributes: { to: 'type' }, outputs: ([x], { to }) => [{ type: to, shape: x.shape }] },
  Concat: {
    attributes: { axis: 'int' },
    outputs(values, { axis }) {
      const [first] = values
      if (first === undefined) throw new Error('nothing to concatenate')
      const dims = values.map((value) => dimAt(value.shape, axis))
      const total = dims.reduce((sum, dim) =>
        typeof sum === 'number' && typeof dim === 'number' ? sum + dim : unknownDim,
      )
      return [{ type: first.type, shape: withDims(first.shape, axis, total) }]
    },
  },
  ConstantOfShape: {
    attributes: {},
    outputs: ([shape]) => [{ type: 'float32', shape: unknownShape(lengthOf(shape)) }],
  },
  Div: binary,
  Equal: comparison,
  Erf: unary,
  Exp: unary,
  Expand: {
    attributes: {},
    outputs: ([x, shape]) => [
      { type: x.type, shape: unknownShape(Math.max(x.shape.length, lengthOf(shape))) },
    ],
  },
  FusedMatMul: {
    domain: 'com.microsoft',
    attributes: { transA: 'int', transB: 'int', alpha: 'float' },
    outputs: ([a, b], { transA, transB }) => product(turned(a, transA), turned(b, transB)),
  },
  Gather: {
    attributes: { axis: 'int' },
    outputs: ([data, indices], { axis }) => [
      { type: data.type, shape: withDims(data.shape, axis, ...indices.shape) },
    ],
  },
  GatherND: {
    attributes: {},
    outputs: ([data, indices]) => [
      {
        type: data.type,
        shape: [...indices.shape.slice(0, -1), ...data.shape.slice(Number(dimAt(indices.shape, -1)))],
      },
    ],
  },
  Gemm: {
    attributes: { transA: 'int', transB: 'int' },
    outputs([a, b], { transA = 0, transB }) {
      mustEqual(dimAt(a.shape, transA ? 0 : 1), dimAt(b.shape, transB ? 1 : 0), `${a.name} times ${b.name}`)
      return [{ type: a.type, shape: [dimAt(a.shape, transA ? 1 : 0), dimAt(b.shape, transB ? 0 : 1)] }]
    },
  },
  GemmAdd: {
    operator: { name: 'Gemm', fixed: {} },
    attributes: { transB: 'int' },
    outputs([a, b, c], { transB }) {
      mustEqual(dimAt(a.shape, 1), dimAt(b.shape, transB ? 1 : 0), `${a.name} times ${b.name}`)
      return [{ type: c.type, shape: c.shape }]
    },
  },
  GroupQueryAttention: {
    domain: 'com.microsoft',
    attributes: {
      num_heads: 'int',
      kv_num_heads: 'int',
      do_rotary: 'int',
      scale: 'float',
      softcap: 'float',
    },
    outputs([qkv, key, , past], { num_heads, kv_num_heads }) {
      const [batch = unknownDim, rows = unknownDim, width] = qkv.shape
      if (typeof width !== 'number') throw new Error(`${qkv.name} must have a fixed width`)
      const headDim = width / (num_heads + (key === undefined ? 2 * kv_num_heads : 0))
      const present: ValueType = {
        type: qkv.type,
        shape: [batch, kv_num_heads, past === undefined ? rows : dimAt(past.shape, 2), headDim],
      }
      return [{ type: qkv.type, shape: [batch, rows, num_heads * headDim] }, present, present]
    },
  },
  Identity: unary,
  If: {
    attributes: { then_branch: 'graph', else_branch: 'graph' },
    outputs(_, { then_branch, else_branch }) {
      const others = [...else_branch.outputs.values()]
      if (then_branch.outputs.size !== others.length)
        throw new Error('both branches must give as many values')
      return Array.from(then_branch.outputs.values(), (a, index) => {
        const b = others[index]
        if (b === undefined || a.type !== b.type || a.shape.length !== b.shape.length)
          throw new Error('both branches must give values of one type and rank')
        return { type: a.type, shape: a.shape.map((dim, axis) => (dim === b.shape[axis] ? dim : unknownDim)) }
      })
    },
  },
  Less: comparison,
  MatMul: {
    attributes: {},
    outputs: ([a, b]) => product(a, b),
  },
  MatMulNBits: {
    domain: 'com.microsoft',
    attributes: { K: 'int', N: 'int', bits: 'int', block_size: 'int', accuracy_level: 'int' },
    outputs([a], { K, N }) {
      mustEqual(dimAt(a.shape, -1), K, `width of ${a.name}`)
      return [{ type: a.type, shape: withDims(a.shape, -1, N) }]
    },
  },
  Max: binary,
  Mod: binary,
  Mul: binary,
  Or: comparison,
  Pad: { attributes: {}, outputs: ([x]) => [{ type: x.type, shape: unknownShape(x.shape.length) }] },
  Pow: binary,
  QuickGelu: { ...unary, domain: 'com.microsoft', attributes: { alpha: 'float' } },
  Range: { attributes: {}, outputs: ([start]) => [{ type: start.type, shape: [unknownDim] }] },
  ReduceLogSumExp: reduction,
  ReduceMax: reduction,
  ReduceSum: reduction,
  ReduceSumSquare: reduction,
  Relu: unary,
  Reshape: {
    attributes: {},
    outputs: ([x, shape]) => [{ type: x.type, shape: unknownShape(lengthOf(shape)) }],
  },
  RotaryEmbedding: {
    domain: 'com.microsoft',
    attributes: { interleaved: 'int', num_heads: 'int', rotary_embedding_dim: 'int' },
    outputs: ([x]) => same(x),
  },
  ScatterAddND: {
    attributes: {},
    operator: { name: 'ScatterND', fixed: { reduction: 'add' } },
    outputs: ([data]) => same(data),
  },
  ScatterND: { attributes: {}, outputs: ([data]) => [{ type: data.type, shape: data.shape }] },
  Shape: { attributes: {}, outputs: ([x]) => [{ type: 'int64', shape: [x.shape.length] }] },
  Sigmoid: unary,
  Sign: unary,
  SimplifiedLayerNormalization: {
    ...unary,
    attributes: { axis: 'int', epsilon: 'float' },
    outputs: ([x]) => same(x),
  },
  SkipSimplifiedLayerNormalization: {
    domain: 'com.microsoft',
    attributes: { epsilon: 'float' },
    outputs: ([x]) => [...same(x), undefined, undefined, ...same(x)],
  },
  Slice: {
    attributes: {},
    outputs: ([x]) => [{ type: x.type, shape: unknownShape(x.shape.length) }],
  },
  Softmax: { ...unary, attributes: { axis: 'int' } },
  Split: {
    attributes: { axis: 'int' },
    outputs([x, sizes], { axis }) {
      const count = lengthOf(sizes)
      const dim = dimAt(x.shape, axis)
      const part = typeof dim === 'number' ? dim / count : unknownDim
      return Array.from({ length: count }, () => ({ type: x.type, shape: withDims(x.shape, axis, part) }))
    },
  },
  Squeeze: {
    attributes: {},
    outputs: ([x, axes]) => [{ type: x.type, shape: unknownShape(x.shape.length - lengthOf(axes)) }],
  },
  Sub: binary,
  Tanh: unary,
  Transpose: {
    attributes: { perm: 'ints' },
    outputs: ([x], { perm }) => [{ type: x.type, shape: perm.map((axis) => dimAt(x.shape, axis)) }],
  },
  Trilu: { ...unary, attributes: { upper: 'int' }, outputs: ([x]) => same(x) },
  Unsqueeze: {
    attributes: {},
    outputs: ([x, axes]) => [{ type: x.type, shape: unknownShape(x.shape.length + lengthOf(axes)) }],
  },
  Where: {
    attributes: {},
    outputs: ([condition, a, b]) => [{ type: a.type, shape: broadcast(condition.shape, a.shape, b.shape) }],
  },
}
