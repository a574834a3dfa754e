import type { GraphBuilder } from '../../model/graph/builder.ts'
import type { OpName } from '../../model/graph/ops.ts'
import { dimAt, shaped, type Value } from '../../model/graph/values.ts'
import { formulas } from './formula.ts'
import type { Rule } from './rule.ts'

/** What a masked score gets: e to it is 0, and finite so that no 0 · ∞ arises. */
const masked = -1e30

/**
 * Causal grouped-query attention over whole sequences, without rows cached before. Each of the `groups` heads of a
 * key/value head is `rows` more rows of the same product, so that its gradient sums over them by itself:
 *
 *   q, k rotated; P = softmax(q·kᵀ/√h + mask); y = P·v
 *   dv = Pᵀ·dy;  dP = dy·vᵀ;  dS = P ⊙ (dP − rowsum(P ⊙ dP));  dq = dS·k/√h;  dk = dSᵀ·q/√h
 *
 * Only q is rotated and P computed anew; the op gives the rotated k, and v, as [batch, kvHeads, rows, h].
 */
export const attention = {
  GroupQueryAttention({ g, inputs, outputs, attributes, gradients }) {
    const [qkv, , , pastKey, , , , cos, sin] = inputs
    const [, key, value] = outputs
    const [dy, dkOut, dvOut] = gradients
    if (pastKey !== undefined || attributes.do_rotary !== 1 || dkOut !== undefined || dvOut !== undefined)
      throw new Error('attention is differentiated over whole sequences with rotary positions only')
    const backward = () => {
      const { mul, sub, add, sumOfRow, zerosLike, size, ints } = formulas(g)
      if (dy === undefined) return zerosLike(qkv)
      const { num_heads: heads, kv_num_heads: kvHeads } = attributes
      const headDim = Number(dimAt(qkv.shape, 2)) / (heads + 2 * kvHeads)
      const widths = [heads * headDim, kvHeads * headDim]
      const layout = { heads, kvHeads, headDim }
      const start = ints(0)
      const back = g.apply('Slice', [qkv, start, ints(heads * headDim), ints(2)])
      const rotatedQ = g.apply('RotaryEmbedding', [back, start, cos, sin], { interleaved: 0 })
      const q = toGroups(g, rotatedQ, layout)
      const dout = toGroups(g, dy, layout)
      const alpha = 1 / Math.sqrt(headDim)
      const times = (a: Value, b: Value, turn: { a?: boolean; b?: boolean; alpha?: number }) =>
        g.apply('FusedMatMul', [a, b], {
          transA: turn.a ? 1 : 0,
          transB: turn.b ? 1 : 0,
          alpha: turn.alpha ?? 1,
        })

      const rows = size(qkv, 1)
      const square = g.apply('Concat', [rows, rows], { axis: 0 })
      const below = shaped(g.apply('ConstantOfShape', [square]), ['rows', 'rows'])
      const mask = g.apply('Trilu', [add(below, masked), g.constant('int64', [1], [])], { upper: 1 })
      const perHead = g.apply('Concat', [ints(0, heads), square], { axis: 0 })
      const perGroup = g.apply('Concat', [ints(0, kvHeads, -1), rows], { axis: 0 })
      const groupShape = ['batch', kvHeads, 'group_rows', 'rows']
      const scores = g.apply('Reshape', [times(q, key, { b: true, alpha }), perHead])
      const weights = g.apply('Softmax', [add(shaped(scores, ['batch', heads, 'rows', 'rows']), mask)], {
        axis: -1,
      })
      const p = shaped(g.apply('Reshape', [weights, perGroup]), groupShape)

      const dv = times(p, dout, { a: true })
      const weighted = mul(p, times(dout, value, { b: true }))
      const ds = sub(shaped(weighted, groupShape), mul(p, sumOfRow(shaped(weighted, groupShape))))
      const dq = fromGroups(g, times(ds, key, { alpha }), layout)
      const dk = fromHeads(g, times(ds, q, { a: true, alpha }), { heads: kvHeads, headDim })
      const unrotated = g.apply(
        'RotaryEmbedding',
        [
          shaped(g.apply('Concat', [dq, dk], { axis: 2 }), [
            'batch',
            'rows',
            (widths[0] ?? 0) + (widths[1] ?? 0),
          ]),
          start,
          cos,
          mul(sin, -1),
        ],
        { interleaved: 0 },
      )
      return g.apply('Concat', [unrotated, fromHeads(g, dv, { heads: kvHeads, headDim })], { axis: 2 })
    }
    return [backward]
  },

  // The rotation by the opposite angle: dx = R(−angle) · dy
  RotaryEmbedding: ({ g, inputs: [, start, cos, sin], attributes, dy }) => [
    () => g.apply('RotaryEmbedding', [dy, start, cos, formulas(g).mul(sin, -1)], attributes),
    undefined,
    undefined,
    undefined,
  ],
} satisfies { readonly [N in OpName]?: Rule<N> }

interface Layout {
  readonly heads: number
  readonly kvHeads: number
  readonly headDim: number
}

/** [batch, rows, heads · h] → [batch, heads, rows, h] */
function toHeads(g: GraphBuilder, x: Value, { heads, headDim }: { heads: number; headDim: number }): Value {
  const split = shaped(g.apply('Reshape', [x, g.constant('int64', [0, 0, heads, headDim])]), [
    'batch',
    'rows',
    heads,
    headDim,
  ])
  return g.apply('Transpose', [split], { perm: [0, 2, 1, 3] })
}

/** [batch, heads, rows, h] → [batch, rows, heads · h] */
function fromHeads(g: GraphBuilder, x: Value, { heads, headDim }: { heads: number; headDim: number }): Value {
  const rows = g.apply('Transpose', [shaped(x, ['batch', heads, 'rows', headDim])], { perm: [0, 2, 1, 3] })
  return shaped(g.apply('Reshape', [rows, g.constant('int64', [0, 0, heads * headDim])]), [
    'batch',
    'rows',
    heads * headDim,
  ])
}

/** [batch, rows, heads · h] → [batch, kvHeads, groups · rows, h] */
function toGroups(g: GraphBuilder, x: Value, { kvHeads, ...layout }: Layout): Value {
  const stacked = g.apply('Reshape', [
    toHeads(g, x, layout),
    g.constant('int64', [0, kvHeads, -1, layout.headDim]),
  ])
  return shaped(stacked, ['batch', kvHeads, 'group_rows', layout.headDim])
}

/** [batch, kvHeads, groups · rows, h] → [batch, rows, heads · h] */
function fromGroups(g: GraphBuilder, x: Value, layout: Layout): Value {
  const { heads, headDim, kvHeads } = layout
  const rowsOfHead = g.apply('Div', [
    formulas(g).size(shaped(x, ['batch', kvHeads, 'group_rows', headDim]), 2),
    g.constant('int64', [heads / kvHeads]),
  ])
  const to = g.apply(
    'Concat',
    [g.constant('int64', [0, heads]), rowsOfHead, g.constant('int64', [headDim])],
    { axis: 0 },
  )
  return fromHeads(g, g.apply('Reshape', [x, to]), layout)
}
