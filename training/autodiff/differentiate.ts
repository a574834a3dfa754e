import type { GraphBuilder } from '../../model/graph/builder.ts'
import type { GraphNode } from '../../model/graph/graph.ts'
import type { OpName } from '../../model/graph/ops.ts'
import { type Shape, shaped, unknownDim, type Value, type ValueType } from '../../model/graph/values.ts'
import { formulas } from './formula.ts'
import type { Application, Gradients, Rules } from './rule.ts'
import { rules } from './rules.ts'

/** Nodes `from` to `to` (exclusive) of a graph, by their number. */
export interface Segment {
  readonly from: number
  readonly to: number
}

export interface DifferentiateOptions {
  /** A scalar. */
  readonly loss: Value
  /** The loss is differentiated by these. */
  readonly by: readonly Value[]
  /** Stretches of the graph whose values are computed anew in the backward pass instead of being kept. */
  readonly recompute?: readonly Segment[]
}

/**
 * Reverse-mode differentiation: appends to the graph what computes d loss / d value for each of `by`, by name. Values
 * that do not depend on any of `by` get no gradient, and nothing is computed for them. A value that the loss does not
 * depend on is absent from the result. Throws for an op without a gradient on the way.
 */
export function differentiate(
  g: GraphBuilder,
  { loss, by, recompute = [] }: DifferentiateOptions,
): Map<string, Value> {
  const nodes = [...g.nodes]
  const dependent = dependentValues(nodes, by)
  const gradients = new GradientSums(g)
  const known = knownShapes(nodes)
  gradients.add(loss, g.constant('float32', [1], []))
  let again: Recomputation | undefined
  for (const [fromEnd, node] of nodes.toReversed().entries()) {
    const index = nodes.length - 1 - fromEnd
    const segment = recompute.find(({ from, to }) => from <= index && index < to)
    if (segment === undefined) again = undefined
    else if (again?.segment !== segment) again = startRecomputation(g, { nodes, segment, gradients, known })
    const own = node.outputs.map((y) => y && gradients.take(known(y)))
    if (own.every((gradient) => gradient === undefined)) continue
    const values = (list: GraphNode['inputs']) =>
      list.map((value) => value && known(again?.replaced.get(value.name) ?? value, value.name))
    const wanted = (x: Value | undefined) => x !== undefined && dependent.has(x.name)
    if (!node.inputs.some(wanted)) continue
    const written = backward(g, {
      node,
      inputs: values(node.inputs),
      outputs: values(node.outputs),
      gradients: own,
    })
    for (const [at, x] of node.inputs.entries()) {
      if (x === undefined || !wanted(x)) continue
      const gradient = written[at]?.()
      if (gradient !== undefined) gradients.add(known(x), gradient)
    }
  }
  return separate(g, by, gradients)
}

/** The gradients by name, no two of them one value: a graph gives a value under one name only. */
function separate(g: GraphBuilder, by: readonly Value[], gradients: GradientSums): Map<string, Value> {
  const given = new Set<string>()
  return new Map(
    by.flatMap((value) => {
      const gradient = gradients.take(value)
      if (gradient === undefined) return []
      const isGiven = given.has(gradient.name)
      given.add(gradient.name)
      return [[value.name, isGiven ? g.apply('Identity', [gradient]) : gradient]]
    }),
  )
}

/** Gradients of values, each the sum of what its uses contribute. */
class GradientSums {
  readonly #g: GraphBuilder
  readonly #sums = new Map<string, Value>()

  constructor(g: GraphBuilder) {
    this.#g = g
  }

  add(value: Value, gradient: Value): void {
    const before = this.#sums.get(value.name)
    const sum = before === undefined ? gradient : formulas(this.#g).add(before, shaped(gradient, value.shape))
    this.#sums.set(value.name, shaped(sum, value.shape))
  }

  /** The sum so far, complete once every use of the value has been visited. */
  take(value: Value): Value | undefined {
    const sum = this.#sums.get(value.name)
    return sum && shaped(sum, value.shape)
  }
}

/** Names of the values of floats that depend on any of `by`. */
function dependentValues(nodes: readonly GraphNode[], by: readonly Value[]): ReadonlySet<string> {
  const names = new Set(by.map(({ name }) => name))
  for (const { inputs, outputs } of nodes)
    if (inputs.some((x) => x !== undefined && names.has(x.name)))
      for (const y of outputs) if (y !== undefined && isFloat(y)) names.add(y.name)
  return names
}

const isFloat = ({ type }: ValueType) => type === 'float32' || type === 'float16'

/** Gives a value the shape that is known best of those it was made and used with. */
function knownShapes(nodes: readonly GraphNode[]): (value: Value, name?: string) => Value {
  const shapes = new Map<string, Shape>()
  const unknowns = (shape: Shape) => shape.filter((dim) => dim === unknownDim).length
  for (const { inputs, outputs } of nodes)
    for (const value of [...outputs, ...inputs]) {
      if (value === undefined) continue
      const best = shapes.get(value.name)
      if (best === undefined || unknowns(value.shape) < unknowns(best)) shapes.set(value.name, value.shape)
    }
  return (value, name = value.name) => shaped(value, shapes.get(name) ?? value.shape)
}

interface Behind {
  readonly node: GraphNode
  readonly inputs: GraphNode['inputs']
  readonly outputs: GraphNode['outputs']
  readonly gradients: readonly (Value | undefined)[]
}

function backward(g: GraphBuilder, { node, inputs, outputs, gradients }: Behind): Gradients {
  const rule: Rules[OpName] = rules[node.op]
  if ('none' in rule) throw new Error(`${node.name} has no gradient: ${rule.none}`)
  const [first] = outputs
  if (first === undefined) throw new Error(`${node.name} gives no value`)
  const dy = gradients[0] ?? formulas(g).zerosLike(first)
  const application = { g, inputs, outputs, attributes: node.attributes, dy, gradients }
  // A node is an application of its own op, whose rule this is.
  return (rule as (of: Application<typeof node.op>) => Gradients)(application as Application<typeof node.op>)
}

interface Recomputation {
  readonly segment: Segment
  /** The keys are names, the values stand for them in the backward pass. */
  readonly replaced: ReadonlyMap<string, Value>
}

interface Surroundings {
  readonly nodes: readonly GraphNode[]
  readonly segment: Segment
  readonly gradients: GradientSums
  readonly known: (value: Value) => Value
}

/**
 * Writes a segment's nodes once more. Its inputs get 0 · (a gradient that leaves it) added: equal nodes would be merged
 * by the runtime otherwise, or run early, and the memory of the first run kept.
 */
function startRecomputation(
  g: GraphBuilder,
  { nodes, segment, gradients, known }: Surroundings,
): Recomputation {
  const inside = nodes.slice(segment.from, segment.to)
  const made = new Set(inside.flatMap(({ outputs }) => outputs.flatMap((y) => (y ? [y.name] : []))))
  const before = new Set(
    nodes.slice(0, segment.from).flatMap(({ outputs }) => outputs.flatMap((y) => (y ? [y.name] : []))),
  )
  const replaced = new Map<string, Value>()
  const leaving = inside
    .flatMap(({ outputs }) => outputs)
    .flatMap((y) => (y ? [gradients.take(known(y))] : []))
    .find((gradient) => gradient !== undefined)
  if (leaving === undefined) return { segment, replaced }
  const { mul, add, ints, reshape } = formulas(g)
  const flat = reshape(leaving, ints(-1), ['elements'])
  const zero = mul(shaped(g.apply('Slice', [flat, ints(0), ints(1), ints(0)]), [1]), 0)
  const substitute = (x: Value) => {
    const entering = replaced.get(x.name)
    if (entering !== undefined) return shaped(entering, x.shape)
    if (made.has(x.name) || !before.has(x.name) || x.type !== 'float32') return x
    const late = shaped(add(x, zero), x.shape)
    replaced.set(x.name, late)
    return late
  }
  for (const node of inside) {
    const results = g.repeat(
      node,
      node.inputs.map((x) => x && substitute(x)),
    )
    for (const [at, y] of node.outputs.entries()) {
      const result = results[at]
      if (y !== undefined && result !== undefined) replaced.set(y.name, result)
    }
  }
  return { segment, replaced }
}
