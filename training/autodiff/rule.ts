import type { GraphBuilder, Results } from '../../model/graph/builder.ts'
import type { OpName, Ops } from '../../model/graph/ops.ts'
import type { Value } from '../../model/graph/values.ts'

/** One application of an op, seen from behind. */
export interface Application<N extends OpName> {
  readonly g: GraphBuilder
  readonly inputs: Ops[N]['inputs']
  readonly outputs: Results<N>
  readonly attributes: Ops[N]['attributes']
  /** dL/dy of the first output. */
  readonly dy: Value
  /** dL/dy of each output; undefined where the loss does not depend on it. `dy` is zeros where the first is. */
  readonly gradients: readonly (Value | undefined)[]
}

/** Writes dL/dx of one input into the graph; called only where it is wanted. */
type Gradient = () => Value

/** The result of a rule: dL/dx for each input; undefined for one that the output does not depend on smoothly. */
export type Gradients = readonly (Gradient | undefined)[]

/** The reason why an op's output carries no gradient. */
interface NoGradient {
  readonly none: string
}

export type Rule<N extends OpName> = ((application: Application<N>) => Gradients) | NoGradient
export type Rules = { readonly [N in OpName]: Rule<N> }
