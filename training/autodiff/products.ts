import type { GraphBuilder } from '../../model/graph/builder.ts'
import type { OpName } from '../../model/graph/ops.ts'
import { dimAt, type Value } from '../../model/graph/values.ts'
import { formulas, unbroadcast } from './formula.ts'
import type { Gradients, Rule } from './rule.ts'

interface Product {
  readonly a: Value
  readonly b: Value
  readonly y: Value
  readonly dy: Value
  readonly transA: number
  readonly transB: number
  readonly alpha: number
}

/**
 * y = alpha · A·B, where A is a or aᵀ and B is b or bᵀ: dA = alpha · dy·Bᵀ, dB = alpha · Aᵀ·dy, and the transpose of
 * those where a or b was transposed.
 */
function product(g: GraphBuilder, { a, b, y, dy, transA, transB, alpha }: Product): Gradients {
  const times = (left: Value, right: Value, transposed: readonly [number, number]) =>
    g.apply('FusedMatMul', [left, right], { transA: transposed[0], transB: transposed[1], alpha })
  return [
    () => {
      const da = transA === 0 ? times(dy, b, [0, 1 - transB]) : times(b, dy, [transB, 1])
      return unbroadcast(g, da, { x: a, result: [...y.shape.slice(0, -2), ...a.shape.slice(-2)] })
    },
    () => {
      // One matrix for a whole batch of rows: its gradient is one product over all of them.
      if (b.shape.length === 2 && a.shape.length > 2 && transA === 0) {
        const [rows, results] = [flat(g, a), flat(g, dy)]
        return transB === 0 ? times(rows, results, [1, 0]) : times(results, rows, [1, 0])
      }
      const db = transB === 0 ? times(a, dy, [1 - transA, 0]) : times(dy, a, [1, transA])
      return unbroadcast(g, db, { x: b, result: [...y.shape.slice(0, -2), ...b.shape.slice(-2)] })
    },
  ]
}

/** [rows, width] of x [..., width] */
function flat(g: GraphBuilder, x: Value): Value {
  const { reshape, size, ints } = formulas(g)
  const to = g.apply('Concat', [ints(-1), size(x, -1)], { axis: 0 })
  return reshape(x, to, ['rows', dimAt(x.shape, -1)])
}

const plain = { transA: 0, transB: 0, alpha: 1 }

export const products = {
  FusedMatMul: ({ g, inputs: [a, b], outputs: [y], attributes, dy }) =>
    product(g, { a, b, y, dy, ...attributes }),
  Gemm: ({ g, inputs: [a, b], outputs: [y], attributes: { transA = 0, transB }, dy }) =>
    product(g, { a, b, y, dy, transA, transB, alpha: 1 }),
  MatMul: ({ g, inputs: [a, b], outputs: [y], dy }) => product(g, { a, b, y, dy, ...plain }),
  GemmAdd: { none: 'it is part of products with rounded weights; train on dequantised ones' },
  MatMulNBits: { none: 'it rounds its input to eight bits; train on dequantised weights' },
} satisfies { readonly [N in OpName]?: Rule<N> }
