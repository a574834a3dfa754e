import type { ModelConfig } from '../../shared/backbone.ts'
import type { GraphBuilder } from './builder.ts'
import {
  activationRules,
  activations,
  asRows,
  generatorEpsilon,
  poolRules,
  pools,
  projectInstruction,
} from './generator.ts'
import { addAndNorm, type Residual } from './layer.ts'
import { type Norm, rmsNorm } from './norm.ts'
import { halfSlice, isAt, type Program, type PromptInputs, programs, select } from './prompt-inputs.ts'
import { shaped, type Value } from './values.ts'

export interface LayerEntry {
  readonly config: ModelConfig
  readonly layer: number
  /** The output of the layer before. */
  readonly residual: Residual
  /** The norm in front of the layer's attention, where the architecture has one. */
  readonly norm: Norm | undefined
  readonly invertibleNorms: boolean
}

/**
 * Enters a layer: its residual stream summed up, and the normed rows that its attention reads, with the adapter's
 * prompt rows P = anchor + tables + generated among them where the layer makes any. The rows pass the layer's own
 * norm. Unless they are carried on they are in `normed` alone, and their attention output must be dropped.
 */
export function enterLayer(
  g: GraphBuilder,
  prompts: PromptInputs,
  entry: LayerEntry,
): { hidden: Value; normed: Value } {
  const { config, layer } = entry
  const made = prompts.made[layer]
  if (made === undefined) throw new Error(`the inputs say nothing of layer ${layer}`)
  const run = (program: Program) => () => programRules[program](g, prompts, entry)
  const is = (program: Program) => isAt(g, prompts.program, programs.indexOf(program))
  // The sum and the norm stand in each branch, as a value from outside would be copied to leave it.
  const [hidden, normed] = g.choosePair(made, {
    when: () =>
      g.choosePair(is('generated'), {
        when: run('generated'),
        otherwise: () => g.choosePair(is('fixed'), { when: run('fixed'), otherwise: run('general') }),
      }),
    otherwise: () => entering(g, entry),
  })
  return { hidden: shaped(hidden, ['stream', config.d]), normed: shaped(normed, ['rows', config.d]) }
}

/** The residual stream, and what the layer's attention reads. */
type Entered = readonly [hidden: Value, normed: Value]

function entering(g: GraphBuilder, { residual, norm }: LayerEntry): Entered {
  const { hidden, normed } = addAndNorm(g, residual, norm)
  // A branch gives two values, even where no norm makes a second one.
  return [hidden, norm === undefined ? g.apply('Identity', [hidden]) : normed]
}

/** Prompt rows as the layer's attention reads them. */
function normRows(g: GraphBuilder, rows: Value, { norm }: LayerEntry): Value {
  return norm === undefined ? rows : rmsNorm(g, rows, norm)
}

/** One row per program. */
const programRules: {
  readonly [P in Program]: (g: GraphBuilder, prompts: PromptInputs, entry: LayerEntry) => Entered
} = {
  generated(g, prompts, entry) {
    const { layer } = entry
    const [hidden, normed] = entering(g, entry)
    const index = g.constant('int64', [layer], [])
    const half = (input: Value) => halfSlice(g, input, index)
    const z = readInstruction(g, prompts, { entry, hidden, normed, down: half(prompts.down) })
    const pooled = poolRules.attention(g, { z, query: half(prompts.query) })
    const activated = activate(g, prompts, { x: pooled, index })
    const rows = withAnchors(g, prompts, {
      rows: g.apply('MatMul', [activated, half(prompts.up)]),
      own: half(prompts.own),
      layer,
    })
    return [hidden, insert(g, prompts, { among: normed, rows: normRows(g, rows, entry) })]
  },

  fixed(g, prompts, entry) {
    const { layer } = entry
    const [hidden, normed] = entering(g, entry)
    const index = g.constant('int64', [layer], [])
    const half = (input: Value) => halfSlice(g, input, index)
    const rows = withAnchors(g, prompts, { rows: half(prompts.static), own: half(prompts.own), layer })
    return [hidden, insert(g, prompts, { among: normed, rows: normLikeTokens(g, rows, entry) })]
  },

  general(g, prompts, entry) {
    const { config, layer } = entry
    const { pool, given, carried, generatorOf, ownOf } = prompts.general
    const [hidden, normed] = entering(g, entry)
    const indexIn = (table: Value) =>
      g.apply('Gather', [table, g.constant('int64', [layer], [])], { axis: 0 })
    const index = indexIn(generatorOf)
    const half = (input: Value) => halfSlice(g, input, index)
    const z = readInstruction(g, prompts, { entry, hidden, normed, down: half(prompts.down) })
    const { start, end } = prompts.instruction
    const count = () => g.apply('Cast', [g.apply('Sub', [end, start])], { to: 'float32' })
    const pooled = select(g, pool, {
      names: pools,
      ways: {
        attention: () => poolRules.attention(g, { z, query: half(prompts.query) }),
        mean: () => poolRules.mean(g, { z, count: count() }),
        max: () => poolRules.max(g, { z }),
        given: () => given,
      },
    })
    const activated = activate(g, prompts, { x: shaped(pooled, ['vectors', 'm']), index })
    const rows = withAnchors(g, prompts, {
      rows: asRows(g, g.apply('MatMul', [activated, half(prompts.up)]), config.d),
      own: halfSlice(g, prompts.own, indexIn(ownOf)),
      layer,
    })
    const stream = g.choose(carried, {
      when: () => insert(g, prompts, { among: hidden, rows }),
      otherwise: () => hidden,
    })
    return [stream, insert(g, prompts, { among: normed, rows: normRows(g, rows, entry) })]
  },
}

/**
 * z of the tokens that enter the layer. Where it can be, x is taken from the rows that the layer's norm has given
 * already, x · weight, and the weight from W_down, which is far smaller: norming them once more is a fifth of what a
 * generator costs.
 */
function readInstruction(
  g: GraphBuilder,
  { instruction }: PromptInputs,
  { entry, hidden, normed, down }: { entry: LayerEntry; hidden: Value; normed: Value; down: Value },
): Value {
  const { config, norm, invertibleNorms } = entry
  if (norm && invertibleNorms && Math.fround(norm.epsilon) === Math.fround(generatorEpsilon)) {
    const weight = shaped(g.apply('Unsqueeze', [norm.weight, g.constant('int64', [1])]), [config.d, 1])
    return projectInstruction(g, { x: normed, down: g.apply('Div', [down, weight]), ...instruction })
  }
  const weight = g.constant('float32', Array<number>(config.d).fill(1))
  const x = rmsNorm(g, hidden, { weight, epsilon: generatorEpsilon })
  return projectInstruction(g, { x, down, ...instruction })
}

function activate(
  g: GraphBuilder,
  { activation, rational }: PromptInputs,
  { x, index }: { x: Value; index: Value },
): Value {
  const coefficients = () => shaped(g.apply('Gather', [rational, index], { axis: 0 }), [12])
  const ways = {
    rational: () => activationRules.rational(g, x, coefficients()),
    gelu: () => activationRules.gelu(g, x, x),
    relu: () => activationRules.relu(g, x, x),
  }
  return shaped(select(g, activation, { names: activations, ways }), x.shape)
}

/** rows + own + s_l: [l_sp, d]. */
function withAnchors(
  g: GraphBuilder,
  { anchor }: PromptInputs,
  { rows, own, layer }: { rows: Value; own: Value; layer: number },
): Value {
  const s = g.apply('Gather', [anchor, g.constant('int64', [layer], [])], { axis: 0 })
  const [d] = s.shape.slice(-1)
  if (d === undefined) throw new Error('anchors have rows')
  return shaped(g.apply('Add', [g.apply('Add', [s, own]), rows]), ['prompt_rows', d])
}

/** Puts prompt rows in their places among the tokens' rows. */
function insert(
  g: GraphBuilder,
  { order, places }: PromptInputs,
  { among, rows }: { among: Value; rows: Value },
): Value {
  const spread = g.apply('Gather', [among, order], { axis: 0 })
  return g.apply('ScatterND', [spread, places, rows])
}

/**
 * Prompt rows normed by the same op that norms the layer's tokens: rows that are some text's hidden states then give
 * that text's keys and values bit for bit, where another op's rounding would change what 8-bit kernels see.
 */
function normLikeTokens(g: GraphBuilder, rows: Value, entry: LayerEntry): Value {
  if (entry.layer === 0 || entry.norm === undefined) return normRows(g, rows, entry)
  const nothing = g.apply('Mul', [rows, g.constant('float32', [0], [])])
  return addAndNorm(g, { stream: rows, added: nothing }, entry.norm).normed
}
