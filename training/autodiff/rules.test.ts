import { expect, test } from 'vitest'
import { GraphBuilder } from '../../model/graph/builder.ts'
import type { OpName } from '../../model/graph/ops.ts'
import { dimAt, type Shape, shaped, type Value } from '../../model/graph/values.ts'
import { float32, floats, int32, type Tensors } from '../../model/runtime/tensors.ts'
import { Random } from '../../shared/prng.ts'
import { LossSession } from '../loss/loss-session.ts'
import { differentiate } from './differentiate.ts'
import { rules } from './rules.ts'

/** One use of an op: the shapes of what it is differentiated by, and what it makes of that. */
interface Case {
  readonly shapes: readonly (readonly number[])[]
  build(g: GraphBuilder, ...x: Value[]): Value | readonly Value[]
  /** Values are spread evenly over this range, in random order; −1.5 to 1.5 when absent. */
  readonly range?: readonly [number, number]
  /** The values of each input, in place of a range. */
  readonly values?: readonly (readonly number[])[]
  readonly feeds?: Tensors
}

type Differentiable = {
  [N in OpName]: (typeof rules)[N] extends { readonly none: string } ? never : N
}[OpName]

const ints = (g: GraphBuilder, ...values: number[]) => g.constant('int64', values)

const unary = (op: 'Abs' | 'Erf' | 'Exp' | 'Identity' | 'Relu' | 'Sigmoid' | 'Tanh'): Case[] =>
  [[7], [1], [2, 3, 5]].map((shape) => ({ shapes: [shape], build: (g, x) => g.apply(op, [x]) }))

const binary = (op: 'Add' | 'Div' | 'Mul' | 'Sub'): Case[] =>
  [
    [
      [2, 3],
      [2, 3],
    ],
    [
      [2, 1, 5],
      [3, 1],
    ],
    [[5], [2, 3, 5]],
    [[], [3, 2]],
    [
      [1, 3],
      [2, 3],
    ],
    [[1], [1, 1]],
  ].map((shapes) => ({ shapes, range: [0.4, 2.1], build: (g, a, b) => g.apply(op, [a, b]) }))

const reduction = (op: 'ReduceSum' | 'ReduceMax' | 'ReduceLogSumExp' | 'ReduceSumSquare'): Case[] =>
  [
    { shape: [3, 5], axes: [1], keepdims: 0 },
    { shape: [2, 3, 4], axes: [1], keepdims: 1 },
    { shape: [2, 3, 4], axes: [0, 2], keepdims: 0 },
    { shape: [7], axes: [0], keepdims: 0 },
    { shape: [2, 1, 3], axes: [-1], keepdims: 1 },
  ].map(({ shape, axes, keepdims }) => ({
    shapes: [shape],
    build: (g, x) => {
      const isReduced = (axis: number) => axes.includes(axis) || axes.includes(axis - shape.length)
      const result = shape.flatMap((dim, axis) => (isReduced(axis) ? (keepdims ? [1] : []) : [dim]))
      return shaped(g.apply(op, [x, ints(g, ...axes)], { keepdims }), result)
    },
  }))

const mostOfRow = (g: GraphBuilder, x: Value) =>
  shaped(g.apply('ReduceMax', [x, ints(g, -1)], { keepdims: 0 }), x.shape.slice(0, -1))

/** A base of this shape to the power of constants. */
const power = (
  base: readonly number[],
  { exponents, shape }: { exponents: readonly number[]; shape: readonly number[] },
): Case => ({
  shapes: [base],
  range: [0.4, 2.1],
  build: (g, x) => g.apply('Pow', [x, g.constant('float32', [...exponents], [...shape])]),
})

/** a [.., 3, 4] times b [.., 4, 2] for every way to transpose them. */
const turned = (lead: readonly [readonly number[], readonly number[]]): Case[] =>
  [0, 1].flatMap((transA) =>
    [0, 1].map((transB) => ({
      shapes: [
        [...lead[0], ...(transA ? [4, 3] : [3, 4])],
        [...lead[1], ...(transB ? [2, 4] : [4, 2])],
      ],
      build: (g: GraphBuilder, a: Value, b: Value) =>
        g.apply('FusedMatMul', [a, b], { transA, transB, alpha: 0.7 }),
    })),
  )

const positions = 8
const angles = (f: (x: number) => number, half: number) =>
  float32(
    Float32Array.from({ length: positions * half }, (_, i) => f(Math.floor(i / half) / (1 + (i % half)))),
    [positions, half],
  )
const rope = (g: GraphBuilder, half: number) => ({
  cos: g.input('cos', 'float32', [positions, half]),
  sin: g.input('sin', 'float32', [positions, half]),
})
const ropeFeeds = (half: number) => ({ cos: angles(Math.cos, half), sin: angles(Math.sin, half) })

interface AttentionCase {
  readonly heads: number
  readonly kvHeads: number
  readonly rows: number
  /** q, k and v as three inputs. */
  readonly isSplit?: boolean
  /** Half of the pairs of a head that are turned. */
  readonly half?: 0 | 8
  readonly headDim?: number
  readonly scale?: number
  readonly softcap?: number
  /** Hides rows that are two or more before. */
  readonly window?: boolean
}

const attention = (of: AttentionCase): Case => {
  const { heads, kvHeads, rows, isSplit, half = 8, headDim = 16, scale, softcap, window } = of
  const widths = [heads, kvHeads, kvHeads].map((count) => count * headDim)
  const whole = widths.reduce((a, b) => a + b)
  const hidden = Array.from({ length: rows * rows }, (_, i) =>
    Math.floor(i / rows) - (i % rows) > 1 ? -1e30 : 0,
  )
  return {
    shapes: isSplit ? widths.map((width) => [2, rows, width]) : [[2, rows, whole]],
    feeds: {
      ...(half === 0 ? {} : ropeFeeds(half)),
      last: int32([rows - 1, rows - 1]),
      total: int32([rows], []),
    },
    build(g, qkv, k, v) {
      const last = g.input('last', 'int32', [2])
      const total = g.input('total', 'int32', [])
      const { cos, sin } = half === 0 ? { cos: undefined, sin: undefined } : rope(g, half)
      const bias = window ? g.constant('float32', hidden, [1, 1, rows, rows]) : undefined
      const [attended] = g.applyAll(
        'GroupQueryAttention',
        [qkv, k, v, undefined, undefined, last, total, cos, sin, undefined, bias],
        {
          num_heads: heads,
          kv_num_heads: kvHeads,
          do_rotary: half === 0 ? 0 : 1,
          ...(scale === undefined ? {} : { scale }),
          ...(softcap === undefined ? {} : { softcap }),
        },
      )
      return attended
    },
  }
}

/** For every op with a gradient, uses of it over odd shapes: a missing row does not compile. */
const cases: { readonly [N in Differentiable]: readonly Case[] } = {
  Abs: unary('Abs'),
  Add: binary('Add'),
  Cast: [{ shapes: [[2, 3]], build: (g, x) => g.apply('Cast', [x], { to: 'float32' }) }],
  Concat: [
    {
      shapes: [
        [2, 3],
        [2, 1],
        [2, 4],
      ],
      build: (g, ...x) => g.apply('Concat', x, { axis: 1 }),
    },
    {
      shapes: [
        [1, 2, 3],
        [5, 2, 3],
      ],
      build: (g, ...x) => g.apply('Concat', x, { axis: -3 }),
    },
    { shapes: [[3]], build: (g, x) => g.apply('Concat', [x, x], { axis: 0 }) },
  ],
  Div: binary('Div'),
  Erf: unary('Erf'),
  Exp: unary('Exp'),
  Expand: [
    { shapes: [[1, 3]], build: (g, x) => shaped(g.apply('Expand', [x, ints(g, 4, 3)]), [4, 3]) },
    { shapes: [[2, 1]], build: (g, x) => shaped(g.apply('Expand', [x, ints(g, 3, 1, 5)]), [3, 2, 5]) },
  ],
  FusedMatMul: [
    ...turned([[], []]),
    ...turned([[2], [2]]),
    ...turned([
      [2, 1],
      [1, 3],
    ]),
    ...turned([[2, 3], []]).slice(0, 2),
  ],
  Gather: [
    { shapes: [[5, 3]], build: (g, x) => g.apply('Gather', [x, ints(g, 4, 0, 4, 4)], { axis: 0 }) },
    { shapes: [[2, 5, 3]], build: (g, x) => g.apply('Gather', [x, ints(g, 1, 1, -1)], { axis: 1 }) },
    {
      shapes: [[3, 4]],
      build: (g, x) => g.apply('Gather', [x, g.constant('int64', [2, 0, 2, 3], [2, 2])], { axis: -1 }),
    },
    { shapes: [[3, 2]], build: (g, x) => g.apply('Gather', [x, g.constant('int64', [1], [])], { axis: 0 }) },
  ],
  GatherND: [
    {
      shapes: [[3, 4, 2]],
      build: (g, x) => g.apply('GatherND', [x, g.constant('int64', [0, 1, 2, 3, 0, 1], [3, 2])]),
    },
  ],
  Gemm: [0, 1].flatMap((transA) =>
    [0, 1].map((transB) => ({
      shapes: [transA ? [4, 3] : [3, 4], transB ? [5, 4] : [4, 5]],
      build: (g: GraphBuilder, a: Value, b: Value) => g.apply('Gemm', [a, b], { transA, transB }),
    })),
  ),
  GroupQueryAttention: [
    attention({ heads: 3, kvHeads: 1, rows: 5 }),
    attention({ heads: 4, kvHeads: 2, rows: 3 }),
    attention({ heads: 2, kvHeads: 2, rows: 1 }),
    attention({ heads: 4, kvHeads: 2, rows: 3, isSplit: true }),
    attention({ heads: 2, kvHeads: 1, rows: 4, half: 0, scale: 0.7 }),
    attention({ heads: 2, kvHeads: 1, rows: 4, isSplit: true, half: 0, softcap: 0.8 }),
    attention({ heads: 4, kvHeads: 2, rows: 5, headDim: 32, softcap: 1.5, window: true }),
    attention({ heads: 2, kvHeads: 1, rows: 5, headDim: 32, isSplit: true, scale: 0.4, window: true }),
  ],
  Identity: unary('Identity'),
  MatMul: [
    {
      shapes: [
        [3, 4],
        [4, 2],
      ],
      build: (g, a, b) => g.apply('MatMul', [a, b]),
    },
    {
      shapes: [
        [2, 3, 4],
        [4, 2],
      ],
      build: (g, a, b) => g.apply('MatMul', [a, b]),
    },
    {
      shapes: [
        [2, 3, 4],
        [2, 4, 1],
      ],
      build: (g, a, b) => g.apply('MatMul', [a, b]),
    },
    {
      shapes: [
        [3, 4],
        [2, 4, 5],
      ],
      build: (g, a, b) => g.apply('MatMul', [a, b]),
    },
    {
      shapes: [
        [2, 1, 3, 4],
        [3, 4, 2],
      ],
      build: (g, a, b) => g.apply('MatMul', [a, b]),
    },
  ],
  Mul: binary('Mul'),
  Pad: [
    {
      shapes: [[2, 3]],
      build: (g, x) => shaped(g.apply('Pad', [x, ints(g, 1, 2), undefined, ints(g, 1)]), [2, 6]),
    },
    {
      shapes: [[2, 3, 2]],
      build: (g, x) => shaped(g.apply('Pad', [x, ints(g, 0, 1, 2, 0), undefined, ints(g, 2, 0)]), [3, 3, 4]),
    },
  ],
  Pow: [
    ...[-0.5, 3, 1.7].map((exponent) => power([2, 3], { exponents: [exponent], shape: [1] })),
    // An exponent for each column, and for each row.
    power([2, 3], { exponents: [-0.5, 3, 1.7], shape: [3] }),
    power([2, 3], { exponents: [2, -1], shape: [2, 1] }),
    // A base that is repeated: for each exponent, along both axes, and as a scalar.
    power([3], { exponents: [2, -1, 0.5, 1, 3, 1.7], shape: [2, 3] }),
    power([2, 1], { exponents: [2, -1, 0.5], shape: [1, 3] }),
    power([], { exponents: [2, -1, 0.5], shape: [3] }),
  ],
  QuickGelu: [1, 1.702].map((alpha) => ({
    shapes: [[3, 5]],
    build: (g: GraphBuilder, x: Value) => g.apply('QuickGelu', [x], { alpha }),
  })),
  ReduceLogSumExp: reduction('ReduceLogSumExp'),
  ReduceMax: [
    ...reduction('ReduceMax'),
    // Two largest values in a row: a central difference sees half the slope of either, which is what each is given.
    { shapes: [[2, 4]], values: [[1, 2, 0.5, 2, -1, -1, -2, -3]], build: mostOfRow },
  ],
  ReduceSum: reduction('ReduceSum'),
  ReduceSumSquare: reduction('ReduceSumSquare'),
  Relu: unary('Relu'),
  Reshape: [
    { shapes: [[2, 3, 5]], build: (g, x) => shaped(g.apply('Reshape', [x, ints(g, 3, -1)]), [3, 10]) },
    { shapes: [[4]], build: (g, x) => shaped(g.apply('Reshape', [x, ints(g, 2, 1, 2)]), [2, 1, 2]) },
  ],
  RotaryEmbedding: [
    {
      shapes: [[2, 3, 16]],
      feeds: ropeFeeds(4),
      build(g, x) {
        const { cos, sin } = rope(g, 4)
        return g.apply('RotaryEmbedding', [x, ints(g, 2), cos, sin], {
          interleaved: 0,
          num_heads: 2,
          rotary_embedding_dim: 8,
        })
      },
    },
    // A part of each head is turned.
    {
      shapes: [[2, 3, 24]],
      feeds: ropeFeeds(4),
      build(g, x) {
        const { cos, sin } = rope(g, 4)
        return g.apply('RotaryEmbedding', [x, ints(g, 2), cos, sin], {
          interleaved: 0,
          num_heads: 2,
          rotary_embedding_dim: 8,
        })
      },
    },
  ],
  ScatterAddND: [
    {
      shapes: [
        [4, 3],
        [3, 3],
      ],
      build: (g, data, updates) =>
        g.apply('ScatterAddND', [data, g.constant('int64', [2, 0, 2], [3, 1]), updates]),
    },
  ],
  ScatterND: [
    {
      shapes: [
        [4, 3],
        [2, 3],
      ],
      build: (g, data, updates) => g.apply('ScatterND', [data, g.constant('int64', [3, 1], [2, 1]), updates]),
    },
  ],
  Sigmoid: unary('Sigmoid'),
  SimplifiedLayerNormalization: [
    [3, 5],
    [2, 3, 7],
    [1, 1],
  ].map((shape) => ({
    shapes: [shape, shape.slice(-1)],
    build: (g: GraphBuilder, x: Value, scale: Value) =>
      g.apply('SimplifiedLayerNormalization', [x, scale], { axis: -1, epsilon: 0.1 }),
  })),
  SkipSimplifiedLayerNormalization: (['both', 'normed', 'sum'] as const).map((used) => ({
    shapes: [[3, 5], [3, 5], [5]],
    build(g: GraphBuilder, ...x: Value[]) {
      const [a, b, scale] = x
      if (a === undefined || b === undefined || scale === undefined) throw new Error('three inputs')
      const [normed, , , sum] = g.applyAll('SkipSimplifiedLayerNormalization', [a, b, scale], {
        epsilon: 0.1,
      })
      // A scale that nothing depends on would have no gradient: it is used once more.
      return { both: [normed, sum], normed: [normed], sum: [sum, g.apply('Mul', [scale, scale])] }[used]
    },
  })),
  Slice: [
    { shape: [5, 3], starts: [1], ends: [4], axes: [0], result: [3, 3] },
    { shape: [2, 5], starts: [-3], ends: [-1], axes: [1], result: [2, 2] },
    { shape: [3, 5], starts: [0, 2], ends: [99, 4], axes: [0, 1], result: [3, 2] },
  ].map(({ shape, starts, ends, axes, result }) => ({
    shapes: [shape],
    build: (g: GraphBuilder, x: Value) =>
      shaped(g.apply('Slice', [x, ints(g, ...starts), ints(g, ...ends), ints(g, ...axes)]), result),
  })),
  Softmax: [
    { shapes: [[3, 5]], build: (g, x) => g.apply('Softmax', [x], { axis: -1 }) },
    { shapes: [[2, 3, 4]], build: (g, x) => g.apply('Softmax', [x], { axis: 1 }) },
  ],
  Split: [
    { shapes: [[2, 6]], build: (g, x) => g.applyAll('Split', [x, ints(g, 3, 3)], { axis: 1 }) },
    { shapes: [[4, 3]], build: (g, x) => g.applyAll('Split', [x, ints(g, 2, 2)], { axis: 0 }).slice(1) },
  ],
  Squeeze: [{ shapes: [[2, 1, 3]], build: (g, x) => shaped(g.apply('Squeeze', [x, ints(g, 1)]), [2, 3]) }],
  Sub: binary('Sub'),
  Tanh: unary('Tanh'),
  Transpose: [
    { shapes: [[2, 3, 5]], build: (g, x) => g.apply('Transpose', [x], { perm: [2, 0, 1] }) },
    { shapes: [[2, 3]], build: (g, x) => g.apply('Transpose', [x], { perm: [1, 0] }) },
  ],
  Trilu: [0, 1, -1].map((k) => ({
    shapes: [[4, 4]],
    build: (g: GraphBuilder, x: Value) => g.apply('Trilu', [x, g.constant('int64', [k], [])], { upper: 1 }),
  })),
  Unsqueeze: [
    { shapes: [[2, 3]], build: (g, x) => shaped(g.apply('Unsqueeze', [x, ints(g, 0, 2)]), [1, 2, 1, 3]) },
  ],
  Where: [
    {
      shapes: [
        [2, 3],
        [2, 3],
      ],
      build: (g, a, b) => g.apply('Where', [g.apply('Less', [a, b]), a, b]),
    },
    // Repeated along an axis, and as a scalar.
    {
      shapes: [[3], []],
      values: [[1, 2, 3], [0.5]],
      build: (g, a, b) =>
        g.apply('Where', [
          g.apply('Less', [
            g.constant('float32', [1, 2, 3, 4, 5, 6], [2, 3]),
            g.constant('float32', [3.5], []),
          ]),
          a,
          b,
        ]),
    },
  ],
}

const step = 1 / 256

test.for(
  Object.entries(cases).flatMap(([op, uses]) =>
    uses.map((use) => [op, JSON.stringify(use.shapes), use] as const),
  ),
)('%s over %s has the gradient of central differences', async ([, , use]) => {
  for (const { written, measured } of await gradientsOf(use))
    expect(distance(written, measured)).toBeLessThan(1e-3)
})

test('a gradient that is off by one percent, or in one element, is noticed', async () => {
  const [use] = cases.Softmax
  if (use === undefined) throw new Error('no use')
  for (const { written, measured } of await gradientsOf(use)) {
    expect(
      distance(
        written.map((x) => x * 1.01),
        measured,
      ),
    ).toBeGreaterThan(1e-3)
    expect(distance(written.with(3, -(written[3] ?? 0)), measured)).toBeGreaterThan(1e-3)
  }
})

test('every op has a rule that is checked here, or says why it has none', () => {
  const checked = Object.entries(cases).flatMap(([op, uses]) => (uses.length > 0 ? [op] : []))
  const unchecked = Object.entries(rules).filter(([op]) => !checked.includes(op))
  for (const [op, rule] of unchecked) expect(rule, op).toEqual({ none: expect.any(String) })
})

test('three largest values get a third of the gradient each', async () => {
  const g = new GraphBuilder()
  const x = g.input('x', 'float32', [1, 4])
  const loss = shaped(g.apply('Reshape', [mostOfRow(g, x), ints(g)]), [])
  for (const gradient of differentiate(g, { loss, by: [x] }).values()) g.output('dx', gradient)
  const session = await LossSession.open(g.build('case'), { threads: 1 })
  const { dx } = await session.run({ x: float32(Float32Array.of(2, 1, 2, 2), [1, 4]) })
  expect([...floats(dx)]).toEqual([1 / 3, 0, 1 / 3, 1 / 3].map(Math.fround))
  await session.release()
})

interface Compared {
  readonly written: Float32Array
  readonly measured: Float32Array
}

/** |a − b| / |b|, where values of no size count as small ones. */
function distance(a: Float32Array, b: Float32Array): number {
  const norm = (values: Float32Array) => Math.hypot(...values)
  return norm(a.map((x, i) => x - (b[i] ?? 0))) / (norm(b) + 1e-3)
}

/**
 * The gradient of Σ weights · outputs by each input, as the rules write it, and by fourth-order central differences of
 * every element, with the sum in double precision.
 */
async function gradientsOf({
  shapes,
  build,
  range = [-1.5, 1.5],
  values: given,
  feeds = {},
}: Case): Promise<Compared[]> {
  const random = new Random(7)
  const g = new GraphBuilder()
  const inputs = shapes.map((shape, index) => g.input(`x${index}`, 'float32', shape))
  const built = build(g, ...inputs)
  const outputs = 'name' in built ? [built] : built
  const weights: Float32Array[] = []
  const terms = outputs.map((y, index) => {
    g.output(`y${index}`, g.apply('Identity', [y]))
    const weight = Float32Array.from({ length: sizeOf(y) }, () => 0.5 + random.next())
    weights.push(weight)
    const weighted = g.apply('Mul', [y, g.constant('float32', [...weight], fixed(y.shape))])
    const flat = shaped(g.apply('Reshape', [weighted, ints(g, -1)]), [weight.length])
    return shaped(g.apply('ReduceSum', [flat, ints(g, 0)], { keepdims: 0 }), [])
  })
  const loss = terms.reduce((sum, term) => g.apply('Add', [sum, term]))
  // The differences need the outputs alone, thousands of times.
  const forward = await LossSession.open(g.build('forward'), { threads: 1 })
  const gradients = differentiate(g, { loss, by: inputs })
  for (const [name, value] of gradients) g.output(`d${name}`, value)
  const session = await LossSession.open(g.build('case'), { threads: 1 })

  const [low, high] = range
  const values = shapes.map((shape, index) => {
    const own = given?.[index]
    if (own !== undefined) return Float32Array.from(own)
    const n = shape.reduce((a, b) => a * b, 1)
    return Float32Array.from(shuffled(n, random), (i) => low + ((i + 0.3) / n) * (high - low))
  })
  const run = (asked: LossSession) =>
    asked.run({
      ...feeds,
      ...Object.fromEntries(values.map((x, i) => [`x${i}`, float32(x, shapes[i] ?? [])])),
    })
  const total = async () => {
    const results = await run(forward)
    return weights.reduce(
      (sum, weight, index) =>
        floats(results[`y${index}`]).reduce((part, y, i) => part + y * (weight[i] ?? 0), sum),
      0,
    )
  }
  const written = await run(session)
  const compared: Compared[] = []
  for (const [index, x] of values.entries()) {
    const measured = new Float32Array(x.length)
    for (const [i, before] of x.entries()) {
      const at = async (steps: number) => {
        x[i] = before + steps * step
        const value = await total()
        x[i] = before
        return value
      }
      measured[i] = (8 * ((await at(1)) - (await at(-1))) - ((await at(2)) - (await at(-2)))) / (12 * step)
    }
    compared.push({ written: floats(written[`dx${index}`]).slice(), measured })
  }
  await session.release()
  await forward.release()
  return compared
}

const fixed = (shape: Shape) => shape.map((_, axis) => Number(dimAt(shape, axis)))
const sizeOf = ({ shape }: Value) => fixed(shape).reduce((a, b) => a * b, 1)

function shuffled(n: number, random: Random): number[] {
  const order = Array.from({ length: n }, (_, i) => i)
  return order
    .map((i) => ({ i, key: random.next() }))
    .sort((a, b) => a.key - b.key)
    .map(({ i }) => i)
}
