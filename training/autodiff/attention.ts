import type { GraphBuilder } from '../../model/graph/builder.ts'
import type { OpName, Ops } from '../../model/graph/ops.ts'
import { dimAt, shaped, type Value } from '../../model/graph/values.ts'
import { formulas } from './formula.ts'
import type { Rule } from './rule.ts'

/** The value of a masked score: e to it is 0, and it is finite so that no 0 · ∞ arises. */
const masked = -1e30

/**
 * Causal grouped-query attention over whole sequences, without rows cached before. Each of the `groups` heads of a
 * key/value head is `rows` more rows of the same product, so that its gradient sums over them by itself:
 *
 *   q, k rotated; S = scale · q·kᵀ; C = cap · tanh(S / cap), or S itself; P = softmax(C + bias + mask); y = P·v
 *   dv = Pᵀ·dy;  dP = dy·vᵀ;  dC = P ⊙ (dP − rowsum(P ⊙ dP));  dS = dC ⊙ (1 − (C / cap)²)
 *   dq = scale · dS·k;  dk = scale · dSᵀ·q
 *
 * Only q is rotated and P computed anew; the op gives the rotated k, and v, as [batch, kvHeads, rows, h].
 */
export const attention = {
  GroupQueryAttention({ g, inputs, outputs, attributes, gradients }) {
    const [first, keyInput, , pastKey, , , , cos, sin, positions, bias] = inputs
    const [, key, value] = outputs
    const [dy, dkOut, dvOut] = gradients
    if (pastKey !== undefined || positions !== undefined || dkOut !== undefined || dvOut !== undefined)
      throw new Error('attention is differentiated over whole sequences only')
    const { num_heads: heads, kv_num_heads: kvHeads } = attributes
    const isPacked = keyInput === undefined
    const headDim = Number(dimAt(first.shape, 2)) / (heads + (isPacked ? 2 * kvHeads : 0))
    const layout = { heads, kvHeads, headDim }
    const f = formulas(g)
    const turn = (x: Value, count: number, direction: 1 | -1) =>
      cos === undefined || sin === undefined
        ? x
        : g.apply('RotaryEmbedding', [x, f.ints(0), cos, direction === 1 ? sin : f.mul(sin, -1)], {
            interleaved: 0,
            num_heads: count,
            rotary_embedding_dim: 2 * Number(dimAt(cos.shape, 1)),
          })
    const q = () => {
      const width = heads * headDim
      const back = isPacked ? g.apply('Slice', [first, f.ints(0), f.ints(width), f.ints(2)]) : first
      return toGroups(g, turn(shaped(back, [...first.shape.slice(0, 2), width]), heads, 1), layout)
    }
    if (isPacked)
      return [
        () => {
          if (dy === undefined) return f.zerosLike(first)
          const { dq, dk, dv } = gradientsOfHeads(g, {
            q: q(),
            key,
            value,
            dy,
            bias,
            attributes,
            layout,
            of: first,
          })
          const turned = shaped(g.apply('Concat', [dq, dk], { axis: 2 }), [
            'batch',
            'rows',
            (heads + kvHeads) * headDim,
          ])
          return g.apply('Concat', [turn(turned, heads + kvHeads, -1), dv], { axis: 2 })
        },
      ]
    let found: HeadGradients | undefined
    const all = (given: Value) => {
      found ??= gradientsOfHeads(g, { q: q(), key, value, dy: given, bias, attributes, layout, of: first })
      return found
    }
    return [
      () => (dy === undefined ? f.zerosLike(first) : turn(all(dy).dq, heads, -1)),
      () => (dy === undefined ? f.zerosLike(keyInput) : turn(all(dy).dk, kvHeads, -1)),
      () => (dy === undefined ? f.zerosLike(keyInput) : all(dy).dv),
    ]
  },

  // The rotation by the opposite angle: dx = R(−angle) · dy
  RotaryEmbedding: ({ g, inputs: [, start, cos, sin], attributes, dy }) => [
    () => g.apply('RotaryEmbedding', [dy, start, cos, formulas(g).mul(sin, -1)], attributes),
    undefined,
    undefined,
    undefined,
  ],
} satisfies { readonly [N in OpName]?: Rule<N> }

/** Gradients of q and k as they were after their rotation, and of v: [batch, rows, heads · h] each. */
interface HeadGradients {
  readonly dq: Value
  readonly dk: Value
  readonly dv: Value
}

function gradientsOfHeads(
  g: GraphBuilder,
  of: {
    /** Rotated: [batch, kvHeads, groups · rows, h] */
    q: Value
    key: Value
    value: Value
    dy: Value
    bias: Value | undefined
    attributes: Ops['GroupQueryAttention']['attributes']
    layout: Layout
    /** [batch, rows, ..] */
    of: Value
  },
): HeadGradients {
  const { q, key, value, dy, bias, attributes, layout } = of
  const { heads, kvHeads, headDim } = layout
  const { mul, sub, add, sumOfRow, size, ints } = formulas(g)
  const dout = toGroups(g, dy, layout)
  const alpha = attributes.scale ?? 1 / Math.sqrt(headDim)
  const times = (a: Value, b: Value, turn: { a?: boolean; b?: boolean; alpha?: number }) =>
    g.apply('FusedMatMul', [a, b], {
      transA: turn.a ? 1 : 0,
      transB: turn.b ? 1 : 0,
      alpha: turn.alpha ?? 1,
    })

  const rows = size(of.of, 1)
  const square = g.apply('Concat', [rows, rows], { axis: 0 })
  const below = shaped(g.apply('ConstantOfShape', [square]), ['rows', 'rows'])
  const mask = g.apply('Trilu', [add(below, masked), g.constant('int64', [1], [])], { upper: 1 })
  const perHead = g.apply('Concat', [ints(0, heads), square], { axis: 0 })
  const perGroup = g.apply('Concat', [ints(0, kvHeads, -1), rows], { axis: 0 })
  const groupShape = ['batch', kvHeads, 'group_rows', 'rows']
  const scores = shaped(g.apply('Reshape', [times(q, key, { b: true, alpha }), perHead]), [
    'batch',
    heads,
    'rows',
    'rows',
  ])
  const { softcap: cap } = attributes
  const bent = cap === undefined ? undefined : g.apply('Tanh', [mul(scores, 1 / cap)])
  const raised = bent === undefined || cap === undefined ? scores : mul(bent, cap)
  const biased = bias === undefined ? raised : shaped(add(raised, bias), scores.shape)
  const weights = g.apply('Softmax', [add(biased, mask)], { axis: -1 })
  const p = shaped(g.apply('Reshape', [weights, perGroup]), groupShape)

  const dv = times(p, dout, { a: true })
  const weighted = mul(p, times(dout, value, { b: true }))
  const dc = sub(shaped(weighted, groupShape), mul(p, sumOfRow(shaped(weighted, groupShape))))
  const slope = (bend: Value) => shaped(g.apply('Reshape', [bend, perGroup]), groupShape)
  const ds = bent === undefined ? dc : sub(dc, mul(dc, mul(slope(bent), slope(bent))))
  return {
    dq: fromGroups(g, times(ds, key, { alpha }), layout),
    dk: fromHeads(g, times(ds, q, { a: true, alpha }), { heads: kvHeads, headDim }),
    dv: fromHeads(g, dv, { heads: kvHeads, headDim }),
  }
}

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
