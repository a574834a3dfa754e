import type { ModelConfig } from '../../shared/backbone.ts'
import { type AttentionContext, attend } from './attention.ts'
import type { GraphBuilder } from './builder.ts'
import { gelu } from './generator.ts'
import type { Matrix } from './matrix-format.ts'
import { type Norm, rmsNorm } from './norm.ts'
import type { Value } from './values.ts'
import type { WeightLayout } from './weight-file.ts'

/** A product with a bias added, where the model has one. */
interface Linear {
  readonly matrix: Matrix
  readonly bias: Value | undefined
}

function linear(g: GraphBuilder, { matrix, bias }: Linear, x: Value): Value {
  const product = matrix.multiply(g, x)
  return bias === undefined ? product : g.apply('Add', [product, bias])
}

/** The weights of one Transformer layer; norms that the architecture does not have are undefined. */
export interface LayerWeights {
  readonly attentionNorm: Norm | undefined
  /** Rows of q, k and v. */
  readonly qkv: Linear
  readonly qNorm: Norm | undefined
  readonly kNorm: Norm | undefined
  readonly out: Linear
  readonly attentionPostNorm: Norm | undefined
  readonly mlpNorm: Norm | undefined
  /** Rows of gate and up. */
  readonly gateUp: Linear
  readonly down: Linear
  readonly mlpPostNorm: Norm | undefined
}

export function layerWeights(
  g: GraphBuilder,
  { weights, config, layer }: { weights: WeightLayout; config: ModelConfig; layer: number },
): LayerWeights {
  const { d, heads, kvHeads, headDim, ffn, norms, qkNorms, rmsEps, biases = [] } = config
  const at = `layers.${layer}` as const
  const kvRows = kvHeads * headDim
  const parts = {
    qkv: [
      { tensor: 'q', rows: heads * headDim },
      { tensor: 'k', rows: kvRows },
      { tensor: 'v', rows: kvRows },
    ],
    o: [{ tensor: 'o', rows: d }],
    gate_up: [
      { tensor: 'gate', rows: ffn },
      { tensor: 'up', rows: ffn },
    ],
    down: [{ tensor: 'down', rows: d }],
  } as const
  const product = (name: keyof typeof parts, columns: number): Linear => ({
    matrix: weights.matrix(g, `${at}.${name}`, {
      parts: parts[name].map(({ tensor, rows }) => ({ tensor: `${at}.${tensor}` as const, rows })),
      columns,
    }),
    bias: biases.includes(name)
      ? weights.vectors(
          g,
          `${at}.${name}_bias`,
          parts[name].map(({ tensor, rows }) => ({ tensor: `${at}.${tensor}_bias` as const, rows })),
        )
      : undefined,
  })
  const norm = (name: 'attn_norm' | 'attn_post_norm' | 'mlp_norm' | 'mlp_post_norm'): Norm => ({
    weight: weights.vector(g, `${at}.${name}`, d),
    epsilon: rmsEps,
  })
  const headNorm = (name: 'q_norm' | 'k_norm', width: number): Norm | undefined =>
    qkNorms && {
      weight: weights.vector(g, `${at}.${name}`, qkNorms === 'all-heads' ? width : headDim),
      epsilon: config.qkNormEps ?? rmsEps,
    }
  const before = norms !== 'after'
  // In the order in which `weights.bin` holds them: a backbone's digest depends on it.
  return {
    attentionNorm: before ? norm('attn_norm') : undefined,
    qkv: product('qkv', d),
    qNorm: headNorm('q_norm', heads * headDim),
    kNorm: headNorm('k_norm', kvRows),
    out: product('o', heads * headDim),
    attentionPostNorm: norms && norm('attn_post_norm'),
    mlpNorm: before ? norm('mlp_norm') : undefined,
    gateUp: product('gate_up', d),
    down: product('down', ffn),
    mlpPostNorm: norms && norm('mlp_post_norm'),
  }
}

/**
 * The residual stream [n, d]. The last block's addition is kept apart until the next norm, which adds and normalises in
 * one op.
 */
export interface Residual {
  readonly stream: Value
  readonly added: Value | undefined
}

/**
 * Adds up the residual stream and normalises it: `hidden` is the sum, `normed` = hidden / rms(hidden) · weight, or the
 * sum itself where no norm stands.
 */
export function addAndNorm(
  g: GraphBuilder,
  { stream, added }: Residual,
  norm: Norm | undefined,
): { hidden: Value; normed: Value } {
  if (norm === undefined) {
    const hidden = added === undefined ? stream : g.apply('Add', [stream, added])
    return { hidden, normed: hidden }
  }
  if (added === undefined) return { hidden: stream, normed: rmsNorm(g, stream, norm) }
  const [normed, , , hidden] = g.applyAll('SkipSimplifiedLayerNormalization', [stream, added, norm.weight], {
    epsilon: norm.epsilon,
  })
  return { hidden, normed }
}

/** The layer's attention over its normed rows: [n, heads · headDim] and the new cache. */
export function attention(
  g: GraphBuilder,
  normed: Value,
  { weights, context, layer }: { weights: LayerWeights; context: AttentionContext; layer: number },
): ReturnType<typeof attend> {
  const { qNorm, kNorm } = weights
  return attend(g, projected(g, normed, weights), { context, layer, qNorm, kNorm })
}

/** Queries, keys and values of normed rows [n, d], side by side. */
export function projected(g: GraphBuilder, normed: Value, { qkv }: Pick<LayerWeights, 'qkv'>): Value {
  return linear(g, qkv, normed)
}

/** The part of a layer behind its attention: the output joins the residual stream, and the feed-forward block runs. */
export function afterAttention(
  g: GraphBuilder,
  { stream, attended }: { stream: Value; attended: Value },
  { weights: w, config }: { weights: LayerWeights; config: ModelConfig },
): Residual {
  const mixed = blockOutput(g, linear(g, w.out, attended), { norm: w.attentionPostNorm, config })
  const middle = addAndNorm(g, { stream, added: mixed }, w.mlpNorm)
  const fed = feedForward(g, middle.normed, { weights: w, config })
  return { stream: middle.hidden, added: blockOutput(g, fed, { norm: w.mlpPostNorm, config }) }
}

function blockOutput(
  g: GraphBuilder,
  x: Value,
  { norm, config: { residualScale } }: { norm: Norm | undefined; config: ModelConfig },
): Value {
  const normed = norm === undefined ? x : rmsNorm(g, x, norm)
  return scaled(g, normed, residualScale)
}

/** x · factor; x itself without one. */
export function scaled(g: GraphBuilder, x: Value, factor: number | undefined): Value {
  return factor === undefined ? x : g.apply('Mul', [x, g.constant('float32', [factor], [])])
}

/** cap · tanh(x / cap); x itself without a cap (https://arxiv.org/abs/2408.00118, section 2). */
export function capped(g: GraphBuilder, x: Value, cap: number | undefined): Value {
  return cap === undefined ? x : scaled(g, g.apply('Tanh', [scaled(g, x, 1 / cap)]), cap)
}

const activations: {
  readonly [A in NonNullable<ModelConfig['activation']> | 'silu']: (g: GraphBuilder, x: Value) => Value
} = {
  silu: (g, x) => g.apply('QuickGelu', [x], { alpha: 1 }),
  gelu,
  // x · (1 + tanh(√(2/π) · (x + 0.044715 x³))) / 2 = x · sigmoid(2 √(2/π) · (x + 0.044715 x³))
  'gelu-tanh'(g, x) {
    const squared = g.apply('Mul', [x, x])
    const slope = Math.sqrt(8 / Math.PI)
    const factor = g.apply('Add', [scaled(g, squared, 0.044715 * slope), g.constant('float32', [slope], [])])
    return g.apply('Mul', [x, g.apply('Sigmoid', [g.apply('Mul', [x, factor])])])
  },
}

/** down · (f(gate · x) ⊙ up · x), row by row (https://arxiv.org/abs/2002.05202). */
function feedForward(
  g: GraphBuilder,
  x: Value,
  { weights, config }: { weights: LayerWeights; config: ModelConfig },
): Value {
  const merged = linear(g, weights.gateUp, x)
  const [gate, up] = g.applyAll('Split', [merged, g.constant('int64', [config.ffn, config.ffn])], {
    axis: -1,
  })
  if (gate === undefined || up === undefined) throw new Error('Split gives two parts')
  const activated = activations[config.activation ?? 'silu'](g, gate)
  return linear(g, weights.down, g.apply('Mul', [activated, up]))
}
