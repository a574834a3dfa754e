import type { ModelConfig } from '../../shared/backbone.ts'
import { GraphBuilder } from './builder.ts'
import type { Graph } from './graph.ts'
import { addAndNorm, attend, feedForward, layerWeights, type Residual } from './layer.ts'
import type { Matrix } from './matrix-format.ts'
import { insertPromptRows, promptInputs } from './prompt-rows.ts'
import { shaped, type Value } from './values.ts'
import type { WeightFile } from './weight-file.ts'

export interface Model {
  readonly config: ModelConfig
  readonly weights: WeightFile
}

export const unreadableOutput = 'unreadable'

/** Inputs that say which rows run and where they stand; the same in every graph. */
interface Rows {
  readonly hidden: Value
  readonly sequences: Value
  readonly lastRow: Value
  readonly totalRows: Value
  readonly rope: { readonly cos: Value; readonly sin: Value }
  readonly embedding: Matrix
}

function rowInputs(g: GraphBuilder, { config, weights }: Model): Rows {
  const { vocab, d, contextLength, headDim, heads, kvHeads } = config
  const tokens = g.input('tokens', 'int64', ['batch', 'tokens'])
  const lastRow = g.input('last_row', 'int32', ['batch'])
  const totalRows = g.input('total_rows', 'int32', [])
  const embedding = weights.matrix(g, 'embedding', {
    parts: [{ tensor: 'embedding', rows: vocab }],
    columns: d,
  })
  const ids = shaped(g.apply('Reshape', [tokens, g.constant('int64', [-1])]), ['n'])
  const width = (heads + 2 * kvHeads) * headDim
  const sequences = g.apply('Concat', [g.apply('Shape', [lastRow]), g.constant('int64', [-1, width])], {
    axis: 0,
  })
  const table = (name: string, f: (angle: number) => number) =>
    weights.table(g, name, { shape: [contextLength, headDim / 2], compute: () => rotaryTable(config, f) })
  return {
    hidden: shaped(embedding.gather(g, ids), ['n', d]),
    sequences,
    lastRow,
    totalRows,
    rope: { cos: table('rope.cos', Math.cos), sin: table('rope.sin', Math.sin) },
    embedding,
  }
}

/** f(position · theta^(−2i/headDim)), [contextLength, headDim / 2] (https://arxiv.org/abs/2104.09864). */
function rotaryTable(
  { contextLength, headDim, ropeTheta }: ModelConfig,
  f: (angle: number) => number,
): Float32Array {
  const half = headDim / 2
  const frequencies = Array.from({ length: half }, (_, i) => ropeTheta ** (-i / half))
  const table = new Float32Array(contextLength * half)
  for (let position = 0; position < contextLength; position++)
    for (const [i, frequency] of frequencies.entries()) table[position * half + i] = f(position * frequency)
  return table
}

/**
 * The graph that serves: a prompt's chunk of one sequence, with prompt rows or without, or one token each of a batch.
 *
 * - `tokens` int64 [batch, tokens]; `last_row` int32 [batch], position of each sequence's last row in its cache;
 *   `total_rows` int32, rows of the longest sequence after this run.
 * - `token_rows` int64 [n]: which rows of the layers' flattened sequences are tokens rather than prompt rows.
 * - `logit_rows` int64 [r]: which of the n tokens get logits.
 * - `past_key.{l}`, `past_value.{l}` [batch, kvHeads, capacity, headDim]; `present_…` the same with the new rows
 *   written in, and may be the same memory.
 * - `logits` [r, vocab].
 * - `unreadable`, the first output: a sequence, which onnxruntime-node cannot convert (see `Session.runInto`).
 */
export function servingGraph({ config, weights }: Model): Graph {
  const { layers, d, rmsEps, kvHeads, headDim, vocab, tiedHead } = config
  const g = new GraphBuilder()
  const { hidden, embedding, ...rows } = rowInputs(g, { config, weights })
  const tokenRows = g.input('token_rows', 'int64', ['n'])
  const logitRows = g.input('logit_rows', 'int64', ['logit_rows'])
  const prompts = promptInputs(g, config)
  g.output(unreadableOutput, g.apply('SequenceConstruct', [rows.totalRows]))
  const cacheShape = ['batch', kvHeads, 'capacity', headDim]

  let residual: Residual = { stream: hidden, added: undefined }
  for (let layer = 0; layer < layers; layer++) {
    const w = layerWeights(g, { weights, config, layer })
    const entering = addAndNorm(g, residual, { weight: w.attentionNorm, epsilon: rmsEps })
    const x = insertPromptRows(g, prompts, { config, layer, ...entering, normWeight: w.attentionNorm })
    const past = {
      key: g.input(`past_key.${layer}`, 'float32', cacheShape),
      value: g.input(`past_value.${layer}`, 'float32', cacheShape),
    }
    const { attended, key, value } = attend(g, x, { weights: w, context: { config, ...rows, past } })
    g.output(`present_key.${layer}`, key)
    g.output(`present_value.${layer}`, value)
    // What follows the last layer's attention is needed only where logits are.
    const isLast = layer === layers - 1
    const kept = isLast ? g.apply('Gather', [tokenRows, logitRows], { axis: 0 }) : tokenRows
    const stream = isLast ? g.apply('Gather', [entering.hidden, logitRows], { axis: 0 }) : entering.hidden
    const mixed = w.out.multiply(g, g.apply('Gather', [attended, kept], { axis: 0 }))
    const middle = addAndNorm(g, { stream, added: mixed }, { weight: w.mlpNorm, epsilon: rmsEps })
    residual = { stream: middle.hidden, added: feedForward(g, middle.normed, { weights: w, config }) }
  }
  const { normed } = addAndNorm(g, residual, { weight: weights.vector(g, 'norm', d), epsilon: rmsEps })
  const head = tiedHead
    ? embedding
    : weights.matrix(g, 'head', { parts: [{ tensor: 'head', rows: vocab }], columns: d })
  g.output('logits', head.multiply(g, normed))
  return g.build('serving')
}

/**
 * The graph that reads a text: `tokens` int64 [1, n] with `last_row`, `total_rows` as in serving, and
 * `hidden` [layers, n, d], the hidden states that enter each layer.
 */
export function traceGraph({ config, weights }: Model): Graph {
  const { layers, rmsEps } = config
  const g = new GraphBuilder()
  const { hidden, embedding: _, ...rows } = rowInputs(g, { config, weights })
  const traced: Value[] = []
  let residual: Residual = { stream: hidden, added: undefined }
  for (let layer = 0; layer < layers; layer++) {
    const w = layerWeights(g, { weights, config, layer })
    const entering = addAndNorm(g, residual, { weight: w.attentionNorm, epsilon: rmsEps })
    traced.push(g.apply('Unsqueeze', [entering.hidden, g.constant('int64', [0])]))
    if (layer === layers - 1) break
    const { attended } = attend(g, entering.normed, {
      weights: w,
      context: { config, ...rows, past: undefined },
    })
    const mixed = w.out.multiply(g, attended)
    const middle = addAndNorm(
      g,
      { stream: entering.hidden, added: mixed },
      { weight: w.mlpNorm, epsilon: rmsEps },
    )
    residual = { stream: middle.hidden, added: feedForward(g, middle.normed, { weights: w, config }) }
  }
  g.output('hidden', g.apply('Concat', traced, { axis: 0 }))
  return g.build('trace')
}
