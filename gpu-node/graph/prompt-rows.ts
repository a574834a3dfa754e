import type { ModelConfig } from '../../shared/backbone.ts'
import type { GraphBuilder } from './builder.ts'
import { generateRows } from './generator.ts'
import { addAndNorm, rmsNorm } from './layer.ts'
import { type ElementType, type Shape, shaped, type Value } from './values.ts'

/** Graph inputs that carry one adapter, all layers of a tensor in one; nothing of them is read without prompts. */
export interface PromptInputs {
  /** bool scalar: the sequence (a batch of one) gets prompt rows in this run. */
  readonly present: Value
  /** bool scalar: the rows are generated from the instruction, on top of anchor and tables. */
  readonly generated: Value
  /** int64 [l_sp + n]: which token stands at each place of the layer's sequence; any where a prompt row will. */
  readonly order: Value
  /** int64 [l_sp, 1]: the places of the prompt rows. */
  readonly places: Value
  /** int64 [1]: how many of the tokens are the instruction. */
  readonly instructionEnd: Value
  /** f32 [layers, 1 or l_sp, d]: s_l, or rows that must stay exact. */
  readonly anchor: Value
  /** f16 [layers, tables, l_sp, d]: rows to add up (static rows, own anchors). */
  readonly tables: Value
  /** f16 [layers, d, m] */
  readonly down: Value
  /** f16 [layers, m, l_sp] */
  readonly query: Value
  /** f16 [layers, m, d] */
  readonly up: Value
  /** f32 [layers, 12] */
  readonly rational: Value
  /** int64 scalar: index into `activations`. */
  readonly activation: Value
}

export function promptInputs(g: GraphBuilder, { layers, d }: ModelConfig): PromptInputs {
  const input = (name: string, type: ElementType, shape: Shape) => g.input(`prompt.${name}`, type, shape)
  return {
    present: input('present', 'bool', []),
    generated: input('generated', 'bool', []),
    order: input('order', 'int64', ['layer_rows']),
    places: input('places', 'int64', ['prompt_rows', 1]),
    instructionEnd: input('instruction_end', 'int64', [1]),
    anchor: input('anchor', 'float32', [layers, 'anchor_rows', d]),
    tables: input('tables', 'float16', [layers, 'tables', 'table_rows', d]),
    down: input('down', 'float16', [layers, d, 'm']),
    query: input('query', 'float16', [layers, 'm', 'prompt_rows']),
    up: input('up', 'float16', [layers, 'm', d]),
    rational: input('rational', 'float32', [layers, 12]),
    activation: input('activation', 'int64', []),
  }
}

const halfInputs = ['tables', 'down', 'query', 'up'] as const

const halfNodes = (input: string, layer: number) => ({
  gather: `${input}.${layer}.gather`,
  cast: `${input}.${layer}.cast`,
})

/** Names of the nodes that handle 16-bit floats, which not every GPU can. */
export function halfPrecisionNodes({ layers }: ModelConfig): string[] {
  return Array.from({ length: layers }, (_, layer) =>
    halfInputs.flatMap((input) => Object.values(halfNodes(`prompt.${input}`, layer))),
  ).flat()
}

/**
 * A layer's normed rows with the adapter's prompt rows among them, P = anchor + tables + generated. The rows pass
 * the layer's own norm; only their keys and values matter, as their outputs are dropped.
 */
export function insertPromptRows(
  g: GraphBuilder,
  prompts: PromptInputs,
  {
    config: { d, rmsEps },
    layer,
    hidden,
    normed,
    normWeight,
  }: { config: ModelConfig; layer: number; hidden: Value; normed: Value; normWeight: Value },
): Value {
  const index = g.constant('int64', [layer], [])
  const ofLayer = (input: Value) => g.apply('Gather', [input, index], { axis: 0 })
  const ofLayerF32 = (input: Value) => {
    const names = halfNodes(input.name, layer)
    const half = g.applyNamed(names.gather, 'Gather', { inputs: [input, index], attributes: { axis: 0 } })
    return g.applyNamed(names.cast, 'Cast', { inputs: [half], attributes: { to: 'float32' } })
  }

  const generated = () =>
    generateRows(
      g,
      { hidden, instructionEnd: prompts.instructionEnd },
      {
        d,
        weights: {
          down: ofLayerF32(prompts.down),
          query: ofLayerF32(prompts.query),
          up: ofLayerF32(prompts.up),
          rational: ofLayer(prompts.rational),
          activation: prompts.activation,
        },
      },
    )

  const inserted = g.choose(prompts.present, {
    when: () => {
      const tables = g.apply('ReduceSum', [ofLayerF32(prompts.tables), g.constant('int64', [0])], {
        keepdims: 0,
      })
      const anchor = shaped(ofLayer(prompts.anchor), ['anchor_rows', d])
      const fixed = shaped(g.apply('Add', [shaped(tables, ['table_rows', d]), anchor]), ['prompt_rows', d])
      const rows = g.choose(prompts.generated, {
        when: () => g.apply('Add', [generated(), fixed]),
        otherwise: () => fixed,
      })
      const normedRows = normLikeTokens(g, rows, { layer, weight: normWeight, epsilon: rmsEps })
      // One copy of the tokens: Scatter writes to what Gather made.
      const spread = g.apply('Gather', [normed, prompts.order], { axis: 0 })
      return g.apply('ScatterND', [spread, prompts.places, normedRows])
    },
    otherwise: () => normed,
  })
  return shaped(inserted, ['rows', d])
}

/**
 * Prompt rows normed by the very op that norms the layer's tokens: rows that are some text's hidden states then give
 * that text's keys and values bit for bit, where another op's rounding would change what 8-bit kernels see.
 */
function normLikeTokens(
  g: GraphBuilder,
  rows: Value,
  { layer, ...norm }: { layer: number; weight: Value; epsilon: number },
): Value {
  if (layer === 0) return rmsNorm(g, rows, norm)
  const nothing = g.apply('Mul', [rows, g.constant('float32', [0], [])])
  return addAndNorm(g, { stream: rows, added: nothing }, norm).normed
}
