import type { GraphBuilder } from '../../model/graph/builder.ts'
import type { OpName } from '../../model/graph/ops.ts'
import { dimAt, type Value } from '../../model/graph/values.ts'
import { formulas, unbroadcast } from './formula.ts'
import type { Rule } from './rule.ts'

interface Normed {
  /** The input of the norm, [.., d]. */
  readonly x: Value
  /** [d] */
  readonly scale: Value
  readonly epsilon: number
  readonly dy: Value
}

/** 1 / rms(x), row by row: [.., 1] */
function inverseRms(g: GraphBuilder, { x, epsilon }: Normed): Value {
  const { add, mul, power } = formulas(g)
  const squares = g.apply('ReduceSumSquare', [x, g.constant('int64', [-1])], { keepdims: 1 })
  return power(add(mul(squares, 1 / width(x)), epsilon), -0.5)
}

/** y = x · r · scale with r = 1 / rms(x): with u = dy · scale, dx = u · r − x · r³ · mean(u · x). */
function normInput(g: GraphBuilder, normed: Normed): Value {
  const { x, scale, dy } = normed
  const { mul, sub, sumOfRow } = formulas(g)
  const u = mul(dy, scale)
  const r = inverseRms(g, normed)
  const projection = mul(sumOfRow(mul(u, x)), 1 / width(x))
  return sub(mul(u, r), mul(x, mul(projection, mul(r, mul(r, r)))))
}

/** dscale = Σ dy · x · r over the rows. */
function normScale(g: GraphBuilder, normed: Normed): Value {
  const { mul } = formulas(g)
  const { x, scale, dy } = normed
  return unbroadcast(g, mul(mul(dy, x), inverseRms(g, normed)), { x: scale, result: x.shape })
}

function width(x: Value): number {
  const d = dimAt(x.shape, -1)
  if (typeof d === 'number') return d
  throw new Error(`${x.name} is normed over a width that is not known`)
}

export const norms = {
  SimplifiedLayerNormalization: ({ g, inputs: [x, scale], attributes: { epsilon }, dy }) => [
    () => normInput(g, { x, scale, epsilon, dy }),
    () => normScale(g, { x, scale, epsilon, dy }),
  ],
  // Both addends get what the sum gets, as the norm's input and as a result of its own.
  SkipSimplifiedLayerNormalization({ g, inputs: [, , scale], outputs, attributes: { epsilon }, gradients }) {
    const [dy, , , dsum] = gradients
    const x = outputs[3]
    let sum: Value | undefined
    const addend = () => {
      if (dy === undefined) return dsum ?? formulas(g).zerosLike(x)
      const through = () => normInput(g, { x, scale, epsilon, dy })
      sum ??= dsum === undefined ? through() : formulas(g).add(through(), dsum)
      return sum
    }
    return [addend, addend, dy && (() => normScale(g, { x, scale, epsilon, dy }))]
  },
} satisfies { readonly [N in OpName]?: Rule<N> }
