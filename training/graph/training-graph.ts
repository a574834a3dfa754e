import { GraphBuilder } from '../../model/graph/builder.ts'
import type { Graph } from '../../model/graph/graph.ts'
import {
  addAndNorm,
  afterAttention,
  attention,
  capped,
  type LayerWeights,
  layerWeights,
  type Residual,
} from '../../model/graph/layer.ts'
import type { Matrix } from '../../model/graph/matrix-format.ts'
import { embedded, finalNorm, outputHead } from '../../model/graph/model.ts'
import { rmsNorm } from '../../model/graph/norm.ts'
import { type RotaryTables, rotaryTables, tablesByLength } from '../../model/graph/rotary-table.ts'
import { dimAt, shaped, type Value } from '../../model/graph/values.ts'
import { prefixRows } from '../../model/runtime/row-places.ts'
import type { AdapterMetadata } from '../../shared/adapter-file.ts'
import type { ModelConfig } from '../../shared/backbone.ts'
import { differentiate, type Segment } from '../autodiff/differentiate.ts'
import { type BatchInputs, batchInputs, sequenceRows, sizes, toSequences } from './batch.ts'
import { LateRows } from './late-rows.ts'
import { dropRows, fixedBefore, insertRows } from './placement.ts'
import { gradientOutput, PromptRows } from './prompts.ts'
import { withoutUnused } from './unused.ts'
import { WeightInputs, weightInput } from './weight-inputs.ts'

export interface TrainingGraphOptions {
  readonly config: ModelConfig
  /** The adapter that is trained; none for the untuned backbone. */
  readonly metadata: AdapterMetadata | undefined
  /**
   * The tokens that a generator of late rows reads: those in front of all the rows, as it is served, or tokens behind some
   * of the rows too. That of a newest turn's rows reads behind them in any case.
   */
  readonly reads?: 'front' | 'all'
  /** Whether the graph also gives the gradients, and whether their pass computes each layer's values anew. */
  readonly gradients: 'none' | 'kept' | 'recomputed'
}

export interface TrainingGraph {
  readonly graph: Graph
  /** The backbone's tensors that it reads, as `weightInput`s, and their shapes. */
  readonly weights: ReadonlyMap<string, readonly number[]>
}

/** f32 [r]: −log p of each response token of the batch. */
export const tokenLossOutput = 'token_loss'

/**
 * The loss of a batch of examples under an adapter: the serving graph's layers over right-padded sequences, with the
 * head only on rows that predict a response token, and the gradient of the summed loss for every tensor of the
 * adapter (`gradientOutput`).
 */
export function trainingGraph({
  config,
  metadata,
  gradients,
  reads = 'front',
}: TrainingGraphOptions): TrainingGraph {
  const g = new GraphBuilder()
  const weights = new WeightInputs()
  const batch = batchInputs(g)
  const prompts = metadata && new PromptRows(g, { metadata, batch })
  const { embedding, head } = ends(g, { config, weights })
  const { normed, segments } = backbone(g, { config, weights, batch, prompts, embedding, reads })
  const loss = tokenLoss(g, { normed, targets: batch.targets, head, config })
  g.output(tokenLossOutput, loss)
  if (prompts !== undefined && gradients !== 'none') {
    const total = g.apply('ReduceSum', [loss, g.constant('int64', [0])], { keepdims: 0 })
    const found = differentiate(g, {
      loss: shaped(total, []),
      by: [...prompts.parameters.values()],
      recompute: gradients === 'recomputed' ? segments : [],
    })
    for (const [name, parameter] of prompts.parameters) {
      const gradient = found.get(parameter.name)
      if (gradient === undefined) throw new Error(`the loss does not depend on ${name}`)
      g.output(gradientOutput(name), gradient)
    }
  }
  const graph = withoutUnused(g.build('training'))
  const used = new Set(graph.inputs.map(({ name }) => name))
  return {
    graph,
    weights: new Map(Array.from(weights.shapes).filter(([name]) => used.has(weightInput(name)))),
  }
}

function ends(
  g: GraphBuilder,
  { config, weights }: { config: ModelConfig; weights: WeightInputs },
): { embedding: Matrix; head: Matrix } {
  const embedding = weights.matrix(g, 'embedding', {
    parts: [{ tensor: 'embedding', rows: config.vocab }],
    columns: config.d,
  })
  return { embedding, head: outputHead(g, { config, weights, embedding }) }
}

interface Backbone {
  readonly config: ModelConfig
  readonly weights: WeightInputs
  readonly batch: BatchInputs
  readonly prompts: PromptRows | undefined
  readonly embedding: Matrix
  readonly reads: 'front' | 'all'
}

/** The final normed hidden states of the rows that predict, [r, d], and which nodes belong to each layer. */
function backbone(g: GraphBuilder, model: Backbone): { normed: Value; segments: Segment[] } {
  const { config, weights, batch, prompts, embedding } = model
  const rotary = tablesByLength(g, { config, tables: rotaryTables(g, { config, weights }) })
  const embed = (tokens: Value, count: string) =>
    shaped(embedded(g, tokens, { embedding, config }), [count, config.d])
  const enter =
    prompts !== undefined && fixedBefore[prompts.metadata.placement] === undefined
      ? lateLayers(g, { ...model, prompts, rotary, front: embed(batch.late.frontTokens, sizes.allFront) })
      : layersOf(g, { ...model, rotary })
  const segments: Segment[] = []
  let residual: Residual = { stream: embed(batch.tokens, sizes.allTokens), added: undefined }
  for (let layer = 0; layer < config.layers; layer++) {
    const from = g.nodes.length
    const w = layerWeights(g, { weights, config, layer })
    // Only rows whose loss is needed go on behind the last layer's attention.
    const isLast = layer === config.layers - 1
    const { all, hidden, tokensOf } = enter(residual, { weights: w, layer, isLast })
    const at = (x: Value, which: Value) => g.apply('Gather', [x, which], { axis: 0 })
    const attended = isLast ? at(all, batch.attendedRows) : tokensOf(all)
    const stream = isLast ? at(hidden, batch.residualRows) : hidden
    residual = afterAttention(g, { stream, attended }, { weights: w, config })
    // The last layer's values are of few rows, and the first that the backward pass needs.
    if (!isLast) segments.push({ from, to: g.nodes.length })
  }
  return { normed: finalNorm(g, residual, { config, weights }), segments }
}

/** The result of a layer's attention. */
interface Attended {
  /** The attention of all rows, prompt rows too: [rows, heads · headDim] */
  readonly all: Value
  /** The residual stream that entered the layer. */
  readonly hidden: Value
  /** Those of all rows that the residual stream has. */
  readonly tokensOf: (all: Value) => Value
}

/** Runs a layer up to its attention; called in the order of the layers. */
type EnterLayer = (
  residual: Residual,
  layer: { readonly weights: LayerWeights; readonly layer: number; readonly isLast: boolean },
) => Attended

interface Layers extends Omit<Backbone, 'weights' | 'embedding'> {
  readonly rotary: readonly RotaryTables[]
}

/** Layers whose prompt rows stand behind as many tokens in every example, or that have none. */
function layersOf(g: GraphBuilder, { config, batch, prompts, rotary }: Layers): EnterLayer {
  const plain = sequenceRows(g, [batch.tokens], 0)
  const prompted = prompts && sequenceRows(g, [batch.tokens], prompts.metadata.l_sp)
  const before = prompts && fixedBefore[prompts.metadata.placement]
  const placed = prompts && before !== undefined ? { batch, before, l_sp: prompts.metadata.l_sp } : undefined
  let carries = false
  return (residual, { weights, layer }) => {
    const norm = weights.attentionNorm
    const entering = addAndNorm(g, residual, norm)
    const rows = prompts?.ofLayer(layer, () => toSequences(g, entering.hidden, batch))
    let { hidden, normed } = entering
    if (rows !== undefined && placed !== undefined) {
      normed = insertRows(g, { tokens: normed, rows: norm ? rmsNorm(g, rows, norm) : rows }, placed)
      carries = prompts?.carriedFrom === layer
      if (carries) hidden = insertRows(g, { tokens: hidden, rows }, placed)
    }
    const hasRows = rows !== undefined || carries
    const positions = (hasRows ? prompted : undefined) ?? plain
    const prefix = hasRows && prompts ? g.constant('int32', [prefixRows(prompts.metadata)(layer)]) : undefined
    const { attended } = attention(g, normed, {
      weights,
      context: { config, ...positions, rotary, prefixRows: prefix, past: undefined },
      layer,
    })
    const all = shaped(attended, [dimAt(normed.shape, 0), config.heads * config.headDim])
    const drops = rows !== undefined && !carries && placed !== undefined
    return { all, hidden, tokensOf: (of) => (drops ? dropRows(g, of, placed) : of) }
  }
}

/** Layers that make late rows or those of a newest turn, each its own. */
function lateLayers(
  g: GraphBuilder,
  { config, batch, prompts, rotary, reads, front }: Layers & { prompts: PromptRows; front: Value },
): EnterLayer {
  const { l_sp, placement } = prompts.metadata
  const late = new LateRows(g, { config, batch, rotary, l_sp, front })
  const readsFront = placement === 'late' && reads === 'front'
  return (residual, { weights, layer, isLast }) => {
    const norm = weights.attentionNorm
    const states = late.enter({ weights, layer })
    const { hidden, normed } = addAndNorm(g, residual, norm)
    const rows = prompts.ofLayer(layer, () =>
      readsFront
        ? toSequences(g, states.hidden, batch)
        : instructionRows(g, { front: states.hidden, behind: hidden, batch }),
    )
    if (rows === undefined) throw new Error(`layer ${layer} makes no late rows`)
    const all = late.attend(states, {
      rows: norm ? rmsNorm(g, rows, norm) : rows,
      tokens: normed,
      weights,
      layer,
    })
    if (!isLast) late.leave(states, { weights, layer })
    return { all, hidden, tokensOf: (of) => late.behind(of) }
  }
}

/** The states that a generator reads, [batch, instruction, d], from anywhere in the examples. */
function instructionRows(
  g: GraphBuilder,
  { front, behind, batch }: { front: Value; behind: Value; batch: BatchInputs },
): Value {
  const d = dimAt(front.shape, 1)
  const both = shaped(g.apply('Concat', [front, behind], { axis: 0 }), ['read', d])
  const read = g.apply('Gather', [both, batch.late.instructionRows], { axis: 0 })
  return shaped(read, [sizes.batch, sizes.instruction, d])
}

/**
 * −log softmax(x·headᵀ)[target] = log Σ exp(x·headᵀ) − x·head[target], [r]. The target's logit is a product of its
 * own, so that its gradient is a row of the head rather than a tensor of the logits' size.
 */
function tokenLoss(
  g: GraphBuilder,
  {
    normed,
    targets,
    head,
    config: { logitCap },
  }: { normed: Value; targets: Value; head: Matrix; config: ModelConfig },
): Value {
  const axis = g.constant('int64', [1])
  const normalizer = logNormalizer(g, capped(g, head.multiply(g, normed), logitCap))
  const wanted = g.apply('Mul', [normed, shaped(head.gather(g, targets), normed.shape)])
  const logit = g.apply('ReduceSum', [wanted, axis], { keepdims: 0 })
  const cappedLogit = capped(g, shaped(logit, [sizes.lossRows]), logitCap)
  return g.apply('Sub', [shaped(normalizer, [sizes.lossRows]), cappedLogit])
}

/** log Σ exp of each row of x [r, n], of parts first: one f32 sum of tens of thousands loses four digits. */
function logNormalizer(g: GraphBuilder, x: Value): Value {
  const n = Number(x.shape[1])
  const count = largestDivisor(n, Math.sqrt(n))
  const parts = shaped(g.apply('Reshape', [x, g.constant('int64', [-1, count, n / count])]), [
    sizes.lossRows,
    count,
    n / count,
  ])
  const ofParts = g.apply('ReduceLogSumExp', [parts, g.constant('int64', [2])], { keepdims: 0 })
  return g.apply('ReduceLogSumExp', [shaped(ofParts, [sizes.lossRows, count]), g.constant('int64', [1])], {
    keepdims: 0,
  })
}

function largestDivisor(n: number, limit: number): number {
  let divisor = Math.floor(limit)
  while (n % divisor !== 0) divisor--
  return divisor
}
