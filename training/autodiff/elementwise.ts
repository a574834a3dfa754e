import type { OpName } from '../../model/graph/ops.ts'
import type { Value } from '../../model/graph/values.ts'
import { formulas, unbroadcast } from './formula.ts'
import type { Application, Gradients, Rule, Rules } from './rule.ts'

type Formulas = ReturnType<typeof formulas>
type Unary = 'Abs' | 'Erf' | 'Exp' | 'Identity' | 'Relu' | 'Sigmoid' | 'Tanh'
type Binary = 'Add' | 'Sub' | 'Mul' | 'Div'

/** y = f(x), element by element: dx from dy. */
function unary(
  formula: (f: Formulas, of: { x: Value; y: Value; dy: Value; sign: (x: Value) => Value }) => Value,
) {
  return ({ g, inputs: [x], outputs: [y], dy }: Application<Unary>): Gradients => [
    () => formula(formulas(g), { x, y, dy, sign: (value) => g.apply('Sign', [value]) }),
  ]
}

/** y = f(a, b), element by element with broadcasting: da and db from dy. */
function binary(
  a: (f: Formulas, of: Record<'a' | 'b' | 'y' | 'dy', Value>) => Value,
  b: (f: Formulas, of: Record<'a' | 'b' | 'y' | 'dy', Value>) => Value,
) {
  return ({ g, inputs, outputs: [y], dy }: Application<Binary>): Gradients =>
    [a, b].map((formula, index) => () => {
      const of = { a: inputs[0], b: inputs[1], y, dy }
      const x = index === 0 ? of.a : of.b
      return unbroadcast(g, formula(formulas(g), of), { x, result: y.shape })
    })
}

export const elementwise = {
  // dx = dy · sign x
  Abs: unary(({ mul }, { x, dy, sign }) => mul(dy, sign(x))),
  // da = dy, db = dy
  Add: binary(
    (_, { dy }) => dy,
    (_, { dy }) => dy,
  ),
  // da = dy / b, db = −dy · y / b
  Div: binary(
    ({ div }, { b, dy }) => div(dy, b),
    ({ div, mul }, { b, y, dy }) => mul(div(mul(dy, y), b), -1),
  ),
  // dx = dy · 2/√π · exp(−x²)
  Erf: unary(({ mul, exp }, { x, dy }) => mul(dy, mul(exp(mul(mul(x, x), -1)), 2 / Math.sqrt(Math.PI)))),
  // dx = dy · y
  Exp: unary(({ mul }, { y, dy }) => mul(dy, y)),
  // dx = dy
  Identity: unary((_, { dy }) => dy),
  // da = dy · b, db = dy · a
  Mul: binary(
    ({ mul }, { b, dy }) => mul(dy, b),
    ({ mul }, { a, dy }) => mul(dy, a),
  ),
  // dx = dy where y > 0
  Relu: unary(({ mul }, { y, dy, sign }) => mul(dy, sign(y))),
  // dx = dy · y · (1 − y)
  Sigmoid: unary(({ mul, sub }, { y, dy }) => mul(dy, sub(y, mul(y, y)))),
  // dx = dy · (1 − y²)
  Tanh: unary(({ mul, sub }, { y, dy }) => sub(dy, mul(dy, mul(y, y)))),
  // a and b get dy where each was taken
  Where: ({ g, inputs: [condition, a, b], outputs: [y], dy }) => {
    const zero = g.constant('float32', [0], [])
    const part = (x: Value, taken: Value, other: Value) =>
      unbroadcast(g, g.apply('Where', [condition, taken, other]), { x, result: y.shape })
    return [undefined, () => part(a, dy, zero), () => part(b, zero, dy)]
  },
  // da = dy, db = −dy
  Sub: binary(
    (_, { dy }) => dy,
    ({ mul }, { dy }) => mul(dy, -1),
  ),

  // y = x^n: dx = dy · n · x^(n − 1); a gradient by n would need a logarithm, which nothing here takes
  Pow: ({ g, inputs: [x, exponent], outputs: [y], dy }) => [
    () => {
      const { mul, sub } = formulas(g)
      const slope = mul(exponent, g.apply('Pow', [x, sub(exponent, 1)]))
      return unbroadcast(g, mul(dy, slope), { x, result: y.shape })
    },
    () => {
      throw new Error(`${exponent.name} is an exponent, which has no gradient here`)
    },
  ],
  // y = x · σ(αx): dx = dy · (σ + αy · (1 − σ))
  QuickGelu: ({ g, inputs: [x], outputs: [y], attributes: { alpha }, dy }) => [
    () => {
      const { add, mul, sub } = formulas(g)
      const scaled = (value: Value) => (alpha === 1 ? value : mul(value, alpha))
      const sigmoid = g.apply('Sigmoid', [scaled(x)])
      const ay = scaled(y)
      return mul(dy, add(sigmoid, sub(ay, mul(ay, sigmoid))))
    },
  ],
  // dx = dy, in x's type
  Cast: ({ g, inputs: [x], dy }) => [() => g.apply('Cast', [dy], { to: x.type })],
} satisfies { readonly [N in OpName]?: Rule<N> } & Partial<Rules>
