import type { GraphBuilder } from './builder.ts'
import { shaped, type Value } from './values.ts'

/** How the generator's g is computed, in the order of the graph input `prompt.activation`. */
export const activations = ['rational', 'gelu', 'relu'] as const
export type Activation = (typeof activations)[number]

/** One layer's generator, in f32. */
export interface GeneratorWeights {
  /** [d, m] */
  readonly down: Value
  /** [m, l_sp] */
  readonly query: Value
  /** [m, d] */
  readonly up: Value
  /** a0..a6, b1..b5: [12] */
  readonly rational: Value
  /** int64 scalar: index into `activations`. */
  readonly activation: Value
}

/** As the method defines it; not the backbone's. */
const epsilon = 1e-5

/**
 * Instruction-aware prompt rows (IAPT): x = h / rms(h), z = x·W_down, A = softmax over tokens of z·W_query,
 * p = Aᵀz, rows = g(p)·W_up.
 *
 * @param hidden [n, d]: hidden states of a sequence's first tokens
 * @param instructionEnd int64 [1]: how many of them are the instruction
 * @returns [l_sp, d]
 */
export function generateRows(
  g: GraphBuilder,
  { hidden, instructionEnd }: { hidden: Value; instructionEnd: Value },
  { d, weights }: { d: number; weights: GeneratorWeights },
): Value {
  const unit = g.constant('float32', Array<number>(d).fill(1))
  const x = g.apply('SimplifiedLayerNormalization', [hidden, unit], { axis: -1, epsilon })
  const start = g.constant('int64', [0])
  // Cut after W_down, where rows are narrow: Slice copies.
  const all = g.apply('MatMul', [x, weights.down])
  const z = shaped(g.apply('Slice', [all, start, instructionEnd, start]), [
    'instruction',
    ...all.shape.slice(1),
  ])
  const scores = g.apply('MatMul', [z, weights.query])
  const byRow = g.apply('Transpose', [scores], { perm: [1, 0] })
  const attention = g.apply('Softmax', [byRow], { axis: -1 })
  const pooled = g.apply('MatMul', [attention, z])
  return g.apply('MatMul', [activate(g, pooled, weights), weights.up])
}

function activate(g: GraphBuilder, x: Value, { activation, rational }: GeneratorWeights): Value {
  const is = (name: Activation) =>
    g.apply('Equal', [activation, g.constant('int64', [activations.indexOf(name)], [])])
  return g.choose(is('rational'), {
    when: () => applyRational(g, x, rational),
    otherwise: () => g.choose(is('gelu'), { when: () => gelu(g, x), otherwise: () => g.apply('Relu', [x]) }),
  })
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
  const x3 = times(x1, x2)
  const powers = g.apply('Concat', [x1, x2, x3, times(x2, x2), times(x2, x3), times(x3, x3)], { axis: 2 })
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
function gelu(g: GraphBuilder, x: Value): Value {
  const erf = g.apply('Erf', [g.apply('Mul', [x, g.constant('float32', [Math.SQRT1_2])])])
  const gate = g.apply('Add', [erf, g.constant('float32', [1])])
  return g.apply('Mul', [g.apply('Mul', [x, gate]), g.constant('float32', [0.5])])
}
