import type { GraphBuilder } from './builder.ts'
import { shaped, type Value } from './values.ts'

/** The epsilon of x = h / rms(h), as the method defines it; not the backbone's. */
export const generatorEpsilon = 1e-5

/**
 * The instruction's tokens as a generator sees them: z = x·W_down.
 *
 * @param x [n, d]: a chunk's tokens, normed
 * @param start int64 [1]: the first of them that is of the instruction
 * @param end int64 [1]: the first behind it
 * @returns [instruction, m]
 */
export function projectInstruction(
  g: GraphBuilder,
  { x, down, start, end }: { x: Value; down: Value; start: Value; end: Value },
): Value {
  const axis = g.constant('int64', [0])
  // Cut after W_down, where rows are narrow: Slice copies.
  const z = g.apply('Slice', [g.apply('MatMul', [x, down]), start, end, axis])
  return shaped(z, ['instruction', ...down.shape.slice(1)])
}

/** One row per way to pool z [instruction, m]: into a vector for each prompt row, [l_sp, m], or one for all, [1, m]. */
export const poolRules = {
  /** A = softmax over tokens of z·W_query, p = Aᵀz (IAPT). `query` [m, l_sp]. */
  attention: (g: GraphBuilder, { z, query }: { z: Value; query: Value }): Value => {
    const scores = g.apply('Gemm', [query, z], { transA: 1, transB: 1 })
    return g.apply('MatMul', [g.apply('Softmax', [scores], { axis: -1 }), z])
  },
  /** `count` f32 [1]: tokens of the instruction. */
  mean: (g: GraphBuilder, { z, count }: { z: Value; count: Value }): Value => {
    const sum = g.apply('ReduceSum', [z, g.constant('int64', [0])], { keepdims: 1 })
    return shaped(g.apply('Div', [sum, count]), [1, ...z.shape.slice(1)])
  },
  max: (g: GraphBuilder, { z }: { z: Value }): Value =>
    shaped(g.apply('ReduceMax', [z, g.constant('int64', [0])], { keepdims: 1 }), [1, ...z.shape.slice(1)]),
} as const

/** The ways to pool, in the order of the graph input `prompt.pool`. `given` is pooled outside the graph, as a table of tokens is (`ipt`). */
export const pools = ['attention', 'mean', 'max', 'given'] as const
export type Pool = (typeof pools)[number]

/** How g is computed, in the order of the graph input `prompt.activation`. */
export const activations = ['rational', 'gelu', 'relu'] as const
export type Activation = (typeof activations)[number]

/** One row per activation; element-wise. `coefficients`: of `rational`. */
export const activationRules: {
  readonly [A in Activation]: (g: GraphBuilder, x: Value, coefficients: Value) => Value
} = {
  rational: applyRational,
  gelu,
  relu: (g, x) => g.apply('Relu', [x]),
}

/** Where `[b_i, a_i]` for i = 1..6 stand in `rational`; there is no b6, and a zero is put behind the twelve. */
const coefficientPairs = [7, 1, 8, 2, 9, 3, 10, 4, 11, 5, 12, 6]

/**
 * Σ_{j=0..6} a_j x^j / (1 + |Σ_{i=1..5} b_i x^i|), element-wise. Both sums come of one product of the powers x..x⁶
 * with the coefficients: a graph's small ops cost more than their arithmetic.
 */
function applyRational(g: GraphBuilder, x: Value, coefficients: Value): Value {
  const gather = (data: Value, indices: Value) => g.apply('Gather', [data, indices], { axis: 0 })
  const times = (a: Value, b: Value) => g.apply('Mul', [a, b])
  const x1 = shaped(g.apply('Unsqueeze', [x, g.constant('int64', [2])]), [...x.shape, 1])
  const x2 = times(x1, x1)
  const low = g.apply('Concat', [x1, x2], { axis: 2 })
  const middle = times(low, x2)
  const powers = g.apply('Concat', [low, middle, times(middle, x2)], { axis: 2 })
  const padded = g.apply('Concat', [coefficients, g.constant('float32', [0])], { axis: 0 })
  const pairs = gather(padded, g.constant('int64', coefficientPairs, [6, 2]))
  const sums = g.apply('MatMul', [powers, pairs])
  const [b, a] = g.applyAll('Split', [sums, g.constant('int64', [1, 1])], { axis: 2 })
  if (a === undefined || b === undefined) throw new Error('Split gives two parts')
  const numerator = g.apply('Add', [a, gather(coefficients, g.constant('int64', [0]))])
  const denominator = g.apply('Add', [g.apply('Abs', [b]), g.constant('float32', [1])])
  const quotient = g.apply('Div', [numerator, denominator])
  return shaped(g.apply('Squeeze', [quotient, g.constant('int64', [2])]), x.shape)
}

/** x · (1 + erf(x / √2)) / 2 */
export function gelu(g: GraphBuilder, x: Value): Value {
  const erf = g.apply('Erf', [g.apply('Mul', [x, g.constant('float32', [Math.SQRT1_2])])])
  const gate = g.apply('Add', [erf, g.constant('float32', [1])])
  return g.apply('Mul', [g.apply('Mul', [x, gate]), g.constant('float32', [0.5])])
}

/** Vectors [1, l_sp·d] or [l_sp, d] as rows: [l_sp, d]. */
export function asRows(g: GraphBuilder, vectors: Value, d: number): Value {
  return shaped(g.apply('Reshape', [vectors, g.constant('int64', [-1, d])]), ['prompt_rows', d])
}
