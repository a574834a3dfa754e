import type { GraphBuilder } from '../../model/graph/builder.ts'
import type { OpName } from '../../model/graph/ops.ts'
import { type Shape, shaped, unknownDim, type Value } from '../../model/graph/values.ts'

type Binary = { [N in OpName]: N extends 'Add' | 'Sub' | 'Mul' | 'Div' ? N : never }[OpName]

/** Writes formulas into a graph; the rules are made of them. */
export function formulas(g: GraphBuilder) {
  const binary = (op: Binary) => (a: Value, b: Value | number) =>
    g.apply(op, [a, typeof b === 'number' ? g.constant('float32', [b], []) : b])
  const shape = (x: Value) => g.apply('Shape', [x])
  return {
    add: binary('Add'),
    sub: binary('Sub'),
    mul: binary('Mul'),
    div: binary('Div'),
    exp: (x: Value) => g.apply('Exp', [x]),
    power: (x: Value, exponent: number) => g.apply('Pow', [x, g.constant('float32', [exponent], [])]),
    /** int64 [rank] */
    shape,
    /** int64 [1]: the size of x along an axis. */
    size: (x: Value, axis: number) =>
      g.apply('Gather', [shape(x), g.constant('int64', [axis < 0 ? axis + x.shape.length : axis])], {
        axis: 0,
      }),
    ints: (...values: number[]) => g.constant('int64', values),
    zerosLike: (x: Value) => shaped(g.apply('ConstantOfShape', [shape(x)]), x.shape),
    /** Σ over the last axis, which stays with the size 1. */
    sumOfRow: (x: Value) =>
      shaped(g.apply('ReduceSum', [x, g.constant('int64', [-1])], { keepdims: 1 }), [
        ...x.shape.slice(0, -1),
        1,
      ]),
    reshape: (x: Value, to: Value, shape: Shape) => shaped(g.apply('Reshape', [x, to]), shape),
  }
}

/**
 * The gradient of `x` from that of a result which x was broadcast to: summed over the axes that were repeated.
 * Throws where the shapes do not tell which those are.
 */
export function unbroadcast(
  g: GraphBuilder,
  gradient: Value,
  { x, result }: { x: Value; result: Shape },
): Value {
  const lead = result.length - x.shape.length
  const repeated = result.flatMap((dim, axis) => {
    const own = axis < lead ? 1 : x.shape[axis - lead]
    if (own === 1) return dim === 1 ? [] : [axis]
    if (own === unknownDim || (typeof own === 'string' && own !== dim))
      throw new Error(`${x.name} [${x.shape}] in a result [${result}]: say its shape with \`shaped\``)
    return []
  })
  if (repeated.length === 0) return gradient
  const axes = g.constant('int64', repeated)
  const kept = result.map((dim, axis) => (repeated.includes(axis) ? 1 : dim))
  const summed = shaped(g.apply('ReduceSum', [gradient, axes], { keepdims: 1 }), kept)
  if (lead === 0) return shaped(summed, x.shape)
  return shaped(
    g.apply('Squeeze', [
      summed,
      g.constant(
        'int64',
        Array.from({ length: lead }, (_, axis) => axis),
      ),
    ]),
    x.shape,
  )
}
