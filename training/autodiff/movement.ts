import type { GraphBuilder } from '../../model/graph/builder.ts'
import type { OpName } from '../../model/graph/ops.ts'
import { type Shape, shaped, type Value } from '../../model/graph/values.ts'
import { formulas, unbroadcast } from './formula.ts'
import type { Rule } from './rule.ts'

/** Ops that move values without changing them: the gradient moves back, and adds up where a value went twice. */
export const movement = {
  // y = [x_1 x_2 …] along an axis: dx_i = the stretch of dy where x_i stands
  Concat({ g, inputs, attributes: { axis }, dy }) {
    let parts: readonly Value[] | undefined
    const split = () => {
      const { size } = formulas(g)
      const sizes = g.apply(
        'Concat',
        inputs.map((x) => size(x, axis)),
        { axis: 0 },
      )
      return g.applyAll('Split', [dy, sizes], { axis })
    }
    return inputs.map((x, index) => () => {
      parts ??= split()
      return shaped(parts[index] ?? dy, x.shape)
    })
  },
  // [y_1 y_2 …] = x along an axis: dx = [dy_1 dy_2 …]
  Split: ({ g, outputs, attributes: { axis }, gradients }) => [
    () =>
      g.apply(
        'Concat',
        outputs.map((y, index) => gradients[index] ?? formulas(g).zerosLike(y)),
        { axis },
      ),
    undefined,
  ],
  // y = x[starts : ends]: dx[starts : ends] = dy, 0 elsewhere
  Slice: ({ g, inputs: [x, starts, , axes], dy }) => [
    () => {
      const { shape } = formulas(g)
      const along = (value: Value) => g.apply('Gather', [shape(value), axes], { axis: 0 })
      const sizes = along(x)
      // A negative start counts from the end.
      const before = g.apply('Mod', [starts, sizes])
      const behind = g.apply('Sub', [g.apply('Sub', [sizes, before]), along(dy)])
      const pads = shaped(g.apply('Concat', [before, behind], { axis: 0 }), ['pads'])
      return g.apply('Pad', [dy, pads, undefined, axes])
    },
    undefined,
    undefined,
    undefined,
  ],
  // y = [before x behind]: dx = dy[before : before + size of x]
  Pad: ({ g, inputs: [x, pads, , axes], dy }) => [
    () => {
      const { shape, ints } = formulas(g)
      const sizes = g.apply('Gather', [shape(x), axes], { axis: 0 })
      const before = g.apply('Slice', [pads, ints(0), g.apply('Shape', [axes]), ints(0)])
      return g.apply('Slice', [dy, before, g.apply('Add', [before, sizes]), axes])
    },
    undefined,
    undefined,
    undefined,
  ],
  // y_i = data[indices_i] along an axis: ddata[k] = Σ of dy_i with indices_i = k
  Gather: ({ g, inputs: [data, indices], attributes: { axis }, dy }) => [
    () => gatherBackward(g, { data, indices, axis: axis < 0 ? axis + data.shape.length : axis, dy }),
    undefined,
  ],
  // y_i = data[indices_i], an index per axis: ddata[k] = Σ of dy_i with indices_i = k
  GatherND: ({ g, inputs: [data, indices], dy }) => [
    () => g.apply('ScatterAddND', [formulas(g).zerosLike(data), indices, dy]),
    undefined,
  ],
  // y = data, then y[indices_i] = updates_i, no index twice: ddata = dy, 0 at the indices; dupdates_i = dy[indices_i]
  ScatterND: ({ g, inputs: [, indices, updates], dy }) => [
    () => g.apply('ScatterND', [dy, indices, formulas(g).zerosLike(updates)]),
    undefined,
    () => g.apply('GatherND', [dy, indices]),
  ],
  // y = data, then y[indices_i] += updates_i: ddata = dy, dupdates_i = dy[indices_i]
  ScatterAddND: ({ g, inputs: [, indices], dy }) => [
    () => dy,
    undefined,
    () => g.apply('GatherND', [dy, indices]),
  ],
  // y = x, repeated along axes: dx = Σ dy over those axes
  Expand: ({ g, inputs: [x], outputs: [y], dy }) => [
    () => unbroadcast(g, dy, { x, result: y.shape }),
    undefined,
  ],
  // y = x in another shape: dx = dy in x's shape
  Reshape: ({ g, inputs: [x], dy }) => [() => g.apply('Reshape', [dy, shapeOf(g, x)]), undefined],
  // y = x without axes of the size 1: dx = dy with them
  Squeeze: ({ g, inputs: [, axes], dy }) => [() => g.apply('Unsqueeze', [dy, axes]), undefined],
  // y = x with more axes of the size 1: dx = dy without them
  Unsqueeze: ({ g, inputs: [, axes], dy }) => [() => g.apply('Squeeze', [dy, axes]), undefined],
  // y[i_perm(0), i_perm(1), …] = x[i_0, i_1, …]: dx = dy in the inverse order of axes
  Transpose: ({ g, attributes: { perm }, dy }) => [() => g.apply('Transpose', [dy], { perm: inverse(perm) })],
  // y = x · t, with t = 1 in the triangle and 0 outside: dx = dy · t
  Trilu: ({ g, inputs: [, k], attributes, dy }) => [() => g.apply('Trilu', [dy, k], attributes), undefined],
} satisfies { readonly [N in OpName]?: Rule<N> }

/** The shape of x as a constant where at most one of its sizes is unknown. */
function shapeOf(g: GraphBuilder, x: Value): Value {
  const unknown = x.shape.filter((dim) => typeof dim === 'string').length
  if (unknown > 1 || x.shape.includes(0)) return g.apply('Shape', [x])
  return g.constant(
    'int64',
    x.shape.map((dim) => (typeof dim === 'string' ? -1 : dim)),
  )
}

interface Gathered {
  readonly data: Value
  readonly indices: Value
  readonly axis: number
  readonly dy: Value
}

/** The slices of dy [.., indices.., ..] added to zeros of the data's shape, with the axis in front while they are. */
function gatherBackward(g: GraphBuilder, { data, indices, axis, dy }: Gathered): Value {
  const { shape } = formulas(g)
  const rank = indices.shape.length
  const dataOrder = moveToFront(data.shape.length, { start: axis, count: 1 })
  const dyOrder = moveToFront(dy.shape.length, { start: axis, count: rank })
  const zerosShape = g.apply('Gather', [shape(data), g.constant('int64', dataOrder)], { axis: 0 })
  const zeros = shaped(g.apply('ConstantOfShape', [zerosShape]), permuted(data.shape, dataOrder))
  const slices = axis === 0 ? dy : g.apply('Transpose', [dy], { perm: dyOrder })
  const at = shaped(g.apply('Unsqueeze', [indices, g.constant('int64', [rank])]), [...indices.shape, 1])
  const added = g.apply('ScatterAddND', [zeros, at, slices])
  return axis === 0 ? added : g.apply('Transpose', [added], { perm: inverse(dataOrder) })
}

/** The order of axes with `count` of them from `start` in front. */
function moveToFront(rank: number, { start, count }: { start: number; count: number }): number[] {
  const axes = Array.from({ length: rank }, (_, axis) => axis)
  return [...axes.slice(start, start + count), ...axes.slice(0, start), ...axes.slice(start + count)]
}

const permuted = (shape: Shape, order: readonly number[]) => order.map((axis) => shape[axis] ?? 1)

const inverse = (perm: readonly number[]) => perm.map((_, axis) => perm.indexOf(axis))
