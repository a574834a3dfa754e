import { GraphBuilder } from '../../model/graph/builder.ts'
import type { Graph } from '../../model/graph/graph.ts'
import type { Value } from '../../model/graph/values.ts'

/** Rows and columns of a matrix whose values lie row by row. */
export interface MatrixShape {
  readonly rows: number
  readonly columns: number
}

/** Of the polynomial that brings singular values between 0 and 1 near 1 (Jordan et al., "Muon", 2024). */
const [a, b, c] = [3.4445, -4.775, 2.0315] as const
const rounds = 5
/** A matrix with a smaller norm gets smaller singular values, and one of zeros stays one: squares below 1e-38 are zero. */
const leastNorm = 1e-12

/**
 * Matrices with the singular vectors of others and singular values near 1: 0.68 to 1.14 for those that were above a
 * hundredth of the matrix's norm. Five rounds of the Newton–Schulz iteration X ← (a + b·XXᵀ + c·(XXᵀ)²)·X. Only XXᵀ, which is
 * small, goes through the rounds; the product of their polynomials is multiplied with X once.
 *
 * - `matrices` float32 [n, rows, columns], with no more rows than columns; `identity` float32 [rows, rows].
 * - `orthogonal`, the shape of `matrices`.
 */
export function orthogonalGraph(): Graph {
  const g = new GraphBuilder()
  const matrices = g.input('matrices', 'float32', ['n', 'rows', 'columns'])
  const identity = g.input('identity', 'float32', ['rows', 'rows'])
  const number = (value: number) => g.constant('float32', [value], [])
  const times = (factor: number, x: Value) => g.apply('Mul', [x, number(factor)])
  const squares = g.apply('ReduceSumSquare', [matrices, g.constant('int64', [1, 2])], { keepdims: 1 })
  const norm = g.apply('Max', [g.apply('Pow', [squares, number(0.5)]), number(leastNorm)])
  const x = g.apply('Div', [matrices, norm])
  let gram = g.apply('FusedMatMul', [x, x], { transA: 0, transB: 1, alpha: 1 })
  let polynomial: Value | undefined
  for (let round = 0; round < rounds; round++) {
    const higher = g.apply('Add', [times(b, gram), times(c, g.apply('MatMul', [gram, gram]))])
    const factor = g.apply('Add', [higher, times(a, identity)])
    polynomial = polynomial === undefined ? factor : g.apply('MatMul', [factor, polynomial])
    if (round < rounds - 1) gram = g.apply('MatMul', [g.apply('MatMul', [factor, gram]), factor])
  }
  g.output('orthogonal', g.apply('MatMul', [polynomial ?? identity, x]))
  return g.build('orthogonal')
}
