import type { ModelConfig } from '../../shared/backbone.ts'
import { type AttentionContext, sequenceShapes } from './attention.ts'
import { GraphBuilder } from './builder.ts'
import type { Graph } from './graph.ts'
import {
  addAndNorm,
  afterAttention,
  attention,
  capped,
  layerWeights,
  type Residual,
  scaled,
} from './layer.ts'
import type { Matrix } from './matrix-format.ts'
import { perLayer, promptInputs } from './prompt-inputs.ts'
import { enterLayer } from './prompt-rows.ts'
import { type RotaryTables, rotaryTables, tablesByLength } from './rotary-table.ts'
import { shaped, type Value } from './values.ts'
import type { WeightLayout } from './weight-file.ts'

export interface BackboneWeights {
  readonly config: ModelConfig
  readonly weights: WeightLayout
}

export interface ServingModel extends BackboneWeights {
  /** No weight of a layer's first norm is so small that dividing its result by the weight would lose anything. */
  readonly invertibleNorms: boolean
}

/** The tokens that run, and what attention in every layer needs; the same in every graph. */
interface TokenRows {
  readonly hidden: Value
  /** int64 [2]: batch, tokens. */
  readonly size: Value
  readonly sequences: AttentionContext['sequences']
  readonly rotary: readonly RotaryTables[]
  readonly embedding: Matrix
}

function tokenInputs(g: GraphBuilder, { config, weights }: BackboneWeights): TokenRows {
  const { vocab, d } = config
  const tokens = g.input('tokens', 'int64', ['batch', 'tokens'])
  const embedding = weights.matrix(g, 'embedding', {
    parts: [{ tensor: 'embedding', rows: vocab }],
    columns: d,
  })
  const size = g.apply('Shape', [tokens])
  return {
    hidden: embedded(g, tokens, { embedding, config }),
    size,
    sequences: sequenceShapes(g, g.apply('Gather', [size, g.constant('int64', [0])], { axis: 0 })),
    rotary: rotaryTables(g, { config, weights }),
    embedding,
  }
}

/** The rows that enter a layer behind the first, and what attention needs. */
function enteringInputs(
  g: GraphBuilder,
  { config, weights }: BackboneWeights,
): Pick<TokenRows, 'hidden' | 'sequences' | 'rotary'> {
  const size = g.apply('Shape', [g.input('tokens', 'int64', ['batch', 'tokens'])])
  return {
    hidden: g.input('entering', 'float32', ['n', config.d]),
    sequences: sequenceShapes(g, g.apply('Gather', [size, g.constant('int64', [0])], { axis: 0 })),
    rotary: rotaryTables(g, { config, weights }),
  }
}

/** The input of the first layer for tokens int64 [batch, tokens]: [n, d]. */
export function embedded(
  g: GraphBuilder,
  tokens: Value,
  { embedding, config: { d, embeddingScale } }: { embedding: Matrix; config: ModelConfig },
): Value {
  const ids = shaped(g.apply('Reshape', [tokens, g.constant('int64', [-1])]), ['n'])
  return scaled(g, shaped(embedding.gather(g, ids), ['n', d]), embeddingScale)
}

/**
 * The graph that serves: a prompt's chunk of one sequence, with prompt rows or without, or one token each of a batch.
 * Prompt rows may begin at any layer, so how long a sequence is, and which of its rows are tokens, is each layer's own.
 *
 * - `tokens` int64 [batch, tokens].
 * - `last_row` int32 [layers · batch], position of each sequence's last row in the layer's cache; `total_rows` int32
 *   [layers], rows of the longest sequence in the layer after this run.
 * - `prefix_rows` int32 [layers · batch], of a model with windows: how many of each sequence's first rows in the layer
 *   stay in view behind the window, as prompt rows and the sink before them do.
 * - `table_offset` int32 [batch], of a model whose rotary angles depend on a sequence's length: where in the tables its
 *   position 0 stands; `rope_cos.{i}`, `rope_sin.{i}` [table rows, dims / 2], where each length has angles of its own: those of
 *   the rows of this run.
 * - `token_rows` int32, layer by layer, `token_counts` int64 [layers] of each: which rows of the layer's flattened
 *   sequences stay in the residual stream. The others are prompt rows that the next layer makes anew.
 * - `output_rows` int64 [o]: which of the last layer's rows in the residual stream go on to the model's end.
 * - `logit_rows` int64 [r]: which of those get logits.
 * - `past_key.{l}`, `past_value.{l}` [batch, kvHeads, capacity, headDim]; `present_…` the same with the new rows
 *   written in, and may be the same memory.
 * - `hidden` [o, d], the last hidden states, behind the last norm; `logits` [r, vocab].
 */
export function servingGraph({ config, weights, invertibleNorms }: ServingModel): Graph {
  const { layers, kvHeads, headDim } = config
  const g = new GraphBuilder()
  const { hidden, embedding, size, ...rows } = tokenInputs(g, { config, weights })
  const { lastRows, totalRows, tokenRows, prefixRows } = layerInputs(g, { config, size })
  const rotary = tablesByLength(g, { config, tables: rows.rotary })
  const outputRows = g.input('output_rows', 'int64', ['output_rows'])
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
      norm: w.attentionNorm,
      invertibleNorms,
    })
    const past = {
      key: g.input(`past_key.${layer}`, 'float32', cacheShape),
      value: g.input(`past_value.${layer}`, 'float32', cacheShape),
    }
    const lastRow = lastRows[layer] ?? missing(layer)
    const context = {
      config,
      ...rows,
      rotary,
      lastRow,
      totalRows: totalRows[layer] ?? missing(layer),
      prefixRows: prefixRows?.[layer],
      past,
    }
    const { attended, key, value } = attention(g, entering.normed, { weights: w, context, layer })
    g.output(`present_key.${layer}`, key)
    g.output(`present_value.${layer}`, value)
    const ofLayer = tokenRows[layer] ?? missing(layer)
    // Only rows that are needed at the end go on behind the last layer's attention.
    const isLast = layer === layers - 1
    const kept = isLast ? g.apply('Gather', [ofLayer, outputRows], { axis: 0 }) : ofLayer
    const stream = isLast ? g.apply('Gather', [entering.hidden, outputRows], { axis: 0 }) : entering.hidden
    const rowsKept = g.apply('Gather', [attended, kept], { axis: 0 })
    residual = afterAttention(g, { stream, attended: rowsKept }, { weights: w, config })
  }
  const head = outputHead(g, { config, weights, embedding })
  const states = lastHiddenStates(g, residual, { config, weights })
  g.output('hidden', states)
  const read = scaled(g, g.apply('Gather', [states, logitRows], { axis: 0 }), config.logitScale)
  g.output('logits', capped(g, head.multiply(g, read), config.logitCap))
  return g.build('serving')
}

/** The rows that the head reads, normed and with the scale of the logits: [n, d]. */
export function finalNorm(g: GraphBuilder, residual: Residual, model: BackboneWeights): Value {
  return scaled(g, lastHiddenStates(g, residual, model), model.config.logitScale)
}

/** The residual stream behind the model's last norm, [n, d]. */
function lastHiddenStates(
  g: GraphBuilder,
  residual: Residual,
  { config: { d, rmsEps }, weights }: BackboneWeights,
): Value {
  const norm = { weight: weights.vector(g, 'norm', d), epsilon: rmsEps }
  return addAndNorm(g, residual, norm).normed
}

export function outputHead(
  g: GraphBuilder,
  {
    config: { tiedHead, vocab, d },
    weights,
    embedding,
  }: { config: ModelConfig; weights: WeightLayout; embedding: Matrix },
): Matrix {
  return tiedHead
    ? embedding
    : weights.matrix(g, 'head', { parts: [{ tensor: 'head', rows: vocab }], columns: d })
}

export const hasWindows = ({ attention }: ModelConfig): boolean =>
  attention?.some(({ window }) => window !== null) ?? false

function missing(layer: number): never {
  throw new Error(`no input is of layer ${layer}`)
}

/** The inputs that say which rows each layer has. `size` int64 [2]: batch, tokens. */
function layerInputs(g: GraphBuilder, { config, size }: { config: ModelConfig; size: Value }) {
  const { layers } = config
  const perEach = (value: number) => g.constant('int64', Array<number>(layers).fill(value))
  const batch = g.apply('Gather', [size, perEach(0)], { axis: 0 })
  const counts = g.input('token_counts', 'int64', [layers])
  return {
    lastRows: perLayer(g, g.input('last_row', 'int32', ['last_rows']), { sizes: batch }),
    totalRows: perLayer(g, g.input('total_rows', 'int32', [layers]), { sizes: perEach(1) }),
    tokenRows: perLayer(g, g.input('token_rows', 'int32', ['token_rows']), { sizes: counts }),
    prefixRows: hasWindows(config)
      ? perLayer(g, g.input('prefix_rows', 'int32', ['last_rows']), { sizes: batch })
      : undefined,
  }
}

/** Neighbouring layers: a trace of them goes from the input of the first to the input of the last. */
export interface LayerRange {
  readonly first: number
  readonly last: number
}

/**
 * The graph that reads a text: `tokens` int64 [1, n] with `last_row` int32 [1] and `total_rows` int32, and
 * `hidden` [layers, n, d], the hidden states that enter each layer. One of some layers alone needs the weights of no
 * others; behind the model's first it has an input `entering` [n, d], the states that enter its first layer.
 */
export function traceGraph({
  config,
  weights,
  range: { first, last } = { first: 0, last: config.layers - 1 },
}: BackboneWeights & { readonly range?: LayerRange }): Graph {
  const g = new GraphBuilder()
  const { hidden, sequences, rotary } =
    first === 0 ? tokenInputs(g, { config, weights }) : enteringInputs(g, { config, weights })
  const context = {
    config,
    sequences,
    rotary,
    lastRow: g.input('last_row', 'int32', ['batch']),
    totalRows: g.input('total_rows', 'int32', []),
    past: undefined,
  }
  const traced: Value[] = []
  let residual: Residual = { stream: hidden, added: undefined }
  for (let layer = first; layer <= last; layer++) {
    const w = layerWeights(g, { weights, config, layer })
    const entering = addAndNorm(g, residual, w.attentionNorm)
    traced.push(g.apply('Unsqueeze', [entering.hidden, g.constant('int64', [0])]))
    if (layer === last) break
    const { attended } = attention(g, entering.normed, { weights: w, context, layer })
    residual = afterAttention(g, { stream: entering.hidden, attended }, { weights: w, config })
  }
  g.output('hidden', g.apply('Concat', traced, { axis: 0 }))
  return g.build('trace')
}
