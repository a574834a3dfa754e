import type { ModelConfig } from '../../shared/backbone.ts'
import { GraphBuilder } from './builder.ts'
import type { Graph } from './graph.ts'
import { addAndNorm, attend, feedForward, layerWeights, type Residual } from './layer.ts'
import type { Matrix } from './matrix-format.ts'
import { perLayer, promptInputs } from './prompt-inputs.ts'
import { enterLayer } from './prompt-rows.ts'
import { shaped, type Value } from './values.ts'
import type { WeightFile } from './weight-file.ts'

export interface Model {
  readonly config: ModelConfig
  readonly weights: WeightFile
}

export interface ServingModel extends Model {
  /** No weight of a layer's first norm is so small that dividing its result by the weight would lose anything. */
  readonly invertibleNorms: boolean
}

/** The tokens that run, and what attention in every layer needs; the same in every graph. */
interface TokenRows {
  readonly hidden: Value
  /** int64 [2]: batch, tokens. */
  readonly size: Value
  readonly sequences: Value
  readonly rope: { readonly cos: Value; readonly sin: Value }
  readonly embedding: Matrix
}

function tokenInputs(g: GraphBuilder, { config, weights }: Model): TokenRows {
  const { vocab, d, contextLength, headDim, heads, kvHeads } = config
  const tokens = g.input('tokens', 'int64', ['batch', 'tokens'])
  const embedding = weights.matrix(g, 'embedding', {
    parts: [{ tensor: 'embedding', rows: vocab }],
    columns: d,
  })
  const ids = shaped(g.apply('Reshape', [tokens, g.constant('int64', [-1])]), ['n'])
  const width = (heads + 2 * kvHeads) * headDim
  const size = g.apply('Shape', [tokens])
  const batch = g.apply('Gather', [size, g.constant('int64', [0])], { axis: 0 })
  const sequences = g.apply('Concat', [batch, g.constant('int64', [-1, width])], { axis: 0 })
  const table = (name: string, f: (angle: number) => number) =>
    weights.table(g, name, { shape: [contextLength, headDim / 2], compute: () => rotaryTable(config, f) })
  return {
    hidden: shaped(embedding.gather(g, ids), ['n', d]),
    size,
    sequences,
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
 * Prompt rows may begin at any layer, so how long a sequence is, and which of its rows are tokens, is each layer's own.
 *
 * - `tokens` int64 [batch, tokens].
 * - `last_row` int32 [layers · batch], position of each sequence's last row in the layer's cache; `total_rows` int32
 *   [layers], rows of the longest sequence in the layer after this run.
 * - `token_rows` int32, layer by layer, `token_counts` int64 [layers] of each: which rows of the layer's flattened
 *   sequences stay in the residual stream. The others are prompt rows that the next layer makes anew.
 * - `logit_rows` int64 [r]: which of the last layer's rows in the residual stream get logits.
 * - `past_key.{l}`, `past_value.{l}` [batch, kvHeads, capacity, headDim]; `present_…` the same with the new rows
 *   written in, and may be the same memory.
 * - `logits` [r, vocab].
 */
export function servingGraph({ config, weights, invertibleNorms }: ServingModel): Graph {
  const { layers, d, rmsEps, kvHeads, headDim, vocab, tiedHead } = config
  const g = new GraphBuilder()
  const { hidden, embedding, size, ...rows } = tokenInputs(g, { config, weights })
  const { lastRows, totalRows, tokenRows } = layerInputs(g, { layers, size })
  const logitRows = g.input('logit_rows', 'int64', ['logit_rows'])
  const prompts = promptInputs(g, config)
  const cacheShape = ['batch', kvHeads, 'capacity', headDim]

  let residual: Residual = { stream: hidden, added: undefined }
  for (let layer = 0; layer < layers; layer++) {
    const w = layerWeights(g, { weights, config, layer })
    const entering = enterLayer(g, prompts, {
      config,
      layer,
      residual,
      normWeight: w.attentionNorm,
      invertibleNorms,
    })
    const past = {
      key: g.input(`past_key.${layer}`, 'float32', cacheShape),
      value: g.input(`past_value.${layer}`, 'float32', cacheShape),
    }
    const lastRow = lastRows[layer] ?? missing(layer)
    const context = { config, ...rows, lastRow, totalRows: totalRows[layer] ?? missing(layer), past }
    const { attended, key, value } = attend(g, entering.normed, { weights: w, context })
    g.output(`present_key.${layer}`, key)
    g.output(`present_value.${layer}`, value)
    const ofLayer = tokenRows[layer] ?? missing(layer)
    // What follows the last layer's attention is needed only where logits are.
    const isLast = layer === layers - 1
    const kept = isLast ? g.apply('Gather', [ofLayer, logitRows], { axis: 0 }) : ofLayer
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

function missing(layer: number): never {
  throw new Error(`no input is of layer ${layer}`)
}

/** Which rows each layer has. `size` int64 [2]: batch, tokens. */
function layerInputs(g: GraphBuilder, { layers, size }: { layers: number; size: Value }) {
  const perEach = (value: number) => g.constant('int64', Array<number>(layers).fill(value))
  const batch = g.apply('Gather', [size, perEach(0)], { axis: 0 })
  const counts = g.input('token_counts', 'int64', [layers])
  return {
    lastRows: perLayer(g, g.input('last_row', 'int32', ['last_rows']), { sizes: batch }),
    totalRows: perLayer(g, g.input('total_rows', 'int32', [layers]), { sizes: perEach(1) }),
    tokenRows: perLayer(g, g.input('token_rows', 'int32', ['token_rows']), { sizes: counts }),
  }
}

/**
 * The graph that reads a text: `tokens` int64 [1, n] with `last_row` int32 [1] and `total_rows` int32, and
 * `hidden` [layers, n, d], the hidden states that enter each layer.
 */
export function traceGraph({ config, weights }: Model): Graph {
  const { layers, rmsEps } = config
  const g = new GraphBuilder()
  const { hidden, embedding: _, size: __, ...rows } = tokenInputs(g, { config, weights })
  const context = {
    config,
    ...rows,
    lastRow: g.input('last_row', 'int32', ['batch']),
    totalRows: g.input('total_rows', 'int32', []),
    past: undefined,
  }
  const traced: Value[] = []
  let residual: Residual = { stream: hidden, added: undefined }
  for (let layer = 0; layer < layers; layer++) {
    const w = layerWeights(g, { weights, config, layer })
    const entering = addAndNorm(g, residual, { weight: w.attentionNorm, epsilon: rmsEps })
    traced.push(g.apply('Unsqueeze', [entering.hidden, g.constant('int64', [0])]))
    if (layer === layers - 1) break
    const { attended } = attend(g, entering.normed, { weights: w, context })
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
