import type { GraphBuilder } from '../../model/graph/builder.ts'
import { type Activation, activationRules, type Pool } from '../../model/graph/generator.ts'
import { shaped, type Value } from '../../model/graph/values.ts'
import { batchInputNames, sizeOf, sizes } from './batch.ts'

/** The ways to pool the instruction's tokens that training computes. */
export type ComputedPool = Exclude<Pool, 'given'>

/** Tells which of a batch's tokens are instruction, in two forms. A graph has those forms that it reads. */
export class InstructionInputs {
  readonly #g: GraphBuilder
  #mask: Value | undefined
  #share: Value | undefined

  constructor(g: GraphBuilder) {
    this.#g = g
  }

  /** f32 [batch, 1, instruction]: 0 at the tokens that the generator reads, −1e30 at the others. */
  get mask(): Value {
    this.#mask ??= this.#g.input(batchInputNames.instructionMask, 'float32', [
      sizes.batch,
      1,
      sizes.instruction,
    ])
    return this.#mask
  }

  /** f32 [batch, 1, instruction]: 1 / (tokens that the generator reads) at each of them, 0 at the others. */
  get share(): Value {
    this.#share ??= this.#g.input(batchInputNames.instructionShare, 'float32', [
      sizes.batch,
      1,
      sizes.instruction,
    ])
    return this.#share
  }

  /** The first tokens of x [batch, tokens, ..], as many as the longest instruction has: [batch, instruction, ..]. */
  cut(x: Value, of: Value): Value {
    const axis = this.#g.constant('int64', [1])
    const cut = this.#g.apply('Slice', [x, this.#g.constant('int64', [0]), sizeOf(this.#g, of, 2), axis])
    return shaped(cut, [sizes.batch, sizes.instruction, ...x.shape.slice(2)])
  }
}

/** The method's own, not the backbone's. */
const epsilon = 1e-5

/**
 * z = x·W_down with x = h / rms(h): [batch, instruction, m]. Divided after the product, where rows are narrow.
 *
 * @param hidden [batch, instruction, d]
 */
export function projectHidden(g: GraphBuilder, hidden: Value, down: Value): Value {
  const [d, m] = down.shape
  const squares = shaped(g.apply('ReduceSumSquare', [hidden, g.constant('int64', [2])], { keepdims: 1 }), [
    sizes.batch,
    sizes.instruction,
    1,
  ])
  const mean = g.apply('Mul', [squares, g.constant('float32', [1 / Number(d)])])
  const meanSquare = g.apply('Add', [mean, g.constant('float32', [epsilon])])
  const scale = g.apply('Pow', [meanSquare, g.constant('float32', [-0.5])])
  return shaped(g.apply('Mul', [g.apply('MatMul', [hidden, down]), scale]), [
    sizes.batch,
    sizes.instruction,
    m ?? 1,
  ])
}

/** One row per pool: z [batch, instruction, m] → [batch · vectors, m]. */
export const poolRules: {
  readonly [P in ComputedPool]: (
    g: GraphBuilder,
    z: Value,
    of: { instruction: InstructionInputs; query: () => Value },
  ) => Value
} = {
  // A = softmax over tokens of z·W_query, p = Aᵀz
  attention(g, z, { instruction, query }) {
    const scores = g.apply('Transpose', [g.apply('MatMul', [z, query()])], { perm: [0, 2, 1] })
    const a = g.apply('Softmax', [g.apply('Add', [scores, instruction.mask])], { axis: -1 })
    return flat(g, g.apply('MatMul', [a, z]))
  },
  mean: (g, z, { instruction }) => flat(g, g.apply('MatMul', [instruction.share, z])),
  max(g, z, { instruction }) {
    const behind = shaped(g.apply('Transpose', [instruction.mask], { perm: [0, 2, 1] }), [
      sizes.batch,
      sizes.instruction,
      1,
    ])
    const most = g.apply('ReduceMax', [g.apply('Add', [z, behind]), g.constant('int64', [1])], {
      keepdims: 1,
    })
    return flat(g, shaped(most, [sizes.batch, 1, z.shape[2] ?? 1]))
  },
}

function flat(g: GraphBuilder, x: Value): Value {
  const m = Number(x.shape[2])
  return shaped(g.apply('Reshape', [x, g.constant('int64', [-1, m])]), [sizes.vectors, m])
}

/** g(p)·W_up as rows: [batch, l_sp, d], from vectors p [batch · vectors, m], one per row or one for all. */
export function expand(
  g: GraphBuilder,
  pooled: Value,
  of: {
    up: Value
    activation: Activation
    /** Asked only of a rational activation. */
    rational: () => Value
    rows: { l_sp: number; d: number }
  },
): Value {
  const { up, activation, rational, rows } = of
  const activated = activationRules[activation](g, pooled, activation === 'rational' ? rational() : pooled)
  const wide = g.apply('MatMul', [shaped(activated, pooled.shape), up])
  const shape = [rows.l_sp, rows.d]
  return shaped(g.apply('Reshape', [wide, g.constant('int64', [-1, ...shape])]), [sizes.batch, ...shape])
}
