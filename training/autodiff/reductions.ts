import type { GraphBuilder } from '../../model/graph/builder.ts'
import type { OpName } from '../../model/graph/ops.ts'
import { shaped, type Value } from '../../model/graph/values.ts'
import { formulas } from './formula.ts'
import type { Application, Gradients, Rule } from './rule.ts'

type Reduction = 'ReduceSum' | 'ReduceMax' | 'ReduceLogSumExp' | 'ReduceSumSquare'

/** y = f(x) over some axes: dx from dy and y, which are repeated along those axes. */
function reduction(
  formula: (g: GraphBuilder, of: { x: Value; y: () => Value; dy: Value; axes: Value }) => Value,
) {
  return ({ g, inputs: [x, axes], outputs: [y], attributes, dy }: Application<Reduction>): Gradients => {
    const kept = (value: Value) =>
      attributes.keepdims === 1
        ? value
        : shaped(
            g.apply('Unsqueeze', [value, axes]),
            x.shape.map((_, axis) => `kept.${axis}`),
          )
    return [() => shaped(formula(g, { x, y: () => kept(y), dy: kept(dy), axes }), x.shape), undefined]
  }
}

export const reductions = {
  // dx = dy, repeated
  ReduceSum: reduction((g, { x, dy }) => g.apply('Expand', [dy, g.apply('Shape', [x])])),
  // dx_i = dy / k where x_i is one of the k largest values, else 0. Where k > 1 that is the subgradient in the middle of
  // those there are: it treats equal values alike, and moving all of them together gives dy.
  ReduceMax: reduction((g, { x, y, dy, axes }) => {
    const { mul, div } = formulas(g)
    const isMost = g.apply('Cast', [g.apply('Equal', [x, y()])], { to: 'float32' })
    const count = g.apply('ReduceSum', [isMost, axes], { keepdims: 1 })
    return mul(isMost, div(dy, count))
  }),
  // dx = dy · exp(x − y)
  ReduceLogSumExp: reduction((g, { x, y, dy }) => {
    const { mul, sub, exp } = formulas(g)
    return mul(exp(sub(x, y())), dy)
  }),
  // dx = dy · 2x
  ReduceSumSquare: reduction((g, { x, dy }) => {
    const { mul } = formulas(g)
    return mul(x, mul(dy, 2))
  }),
  // dx = y · (dy − Σ y · dy)
  Softmax: ({ g, outputs: [y], attributes: { axis }, dy }) => [
    () => {
      const { mul, sub, ints } = formulas(g)
      const weighted = mul(y, dy)
      const sum = g.apply('ReduceSum', [weighted, ints(axis)], { keepdims: 1 })
      return sub(weighted, mul(y, sum))
    },
  ],
} satisfies { readonly [N in OpName]?: Rule<N> }
