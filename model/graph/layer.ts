import type { ModelConfig } from '../../shared/backbone.ts'
import type { GraphBuilder } from './builder.ts'
import type { Matrix } from './matrix-format.ts'
import { dimAt, shaped, type Value } from './values.ts'
import type { WeightLayout } from './weight-file.ts'

/** The weights of one Transformer layer of the llama family. */
export interface LayerWeights {
  readonly attentionNorm: Value
  /** Rows of q, k and v. */
  readonly qkv: Matrix
  readonly out: Matrix
  readonly mlpNorm: Value
  /** Rows of gate and up. */
  readonly gateUp: Matrix
  readonly down: Matrix
}

export function layerWeights(
  g: GraphBuilder,
  { weights, config, layer }: { weights: WeightLayout; config: ModelConfig; layer: number },
): LayerWeights {
  const { d, heads, kvHeads, headDim, ffn } = config
  const at = `layers.${layer}` as const
  const kvRows = kvHeads * headDim
  return {
    attentionNorm: weights.vector(g, `${at}.attn_norm`, d),
    qkv: weights.matrix(g, `${at}.qkv`, {
      parts: [
        { tensor: `${at}.q`, rows: heads * headDim },
        { tensor: `${at}.k`, rows: kvRows },
        { tensor: `${at}.v`, rows: kvRows },
      ],
      columns: d,
    }),
    out: weights.matrix(g, `${at}.o`, { parts: [{ tensor: `${at}.o`, rows: d }], columns: heads * headDim }),
    mlpNorm: weights.vector(g, `${at}.mlp_norm`, d),
    gateUp: weights.matrix(g, `${at}.gate_up`, {
      parts: [
        { tensor: `${at}.gate`, rows: ffn },
        { tensor: `${at}.up`, rows: ffn },
      ],
      columns: d,
    }),
    down: weights.matrix(g, `${at}.down`, { parts: [{ tensor: `${at}.down`, rows: d }], columns: ffn }),
  }
}

/**
 * The residual stream [n, d]. What a block added last is kept apart until the next norm, which adds and normalises
 * in one op.
 */
export interface Residual {
  readonly stream: Value
  readonly added: Value | undefined
}

/** Adds up the residual stream and normalises it: `hidden` is the sum, `normed` = hidden / rms(hidden) · weight. */
export function addAndNorm(
  g: GraphBuilder,
  { stream, added }: Residual,
  { weight, epsilon }: { weight: Value; epsilon: number },
): { hidden: Value; normed: Value } {
  if (added === undefined) return { hidden: stream, normed: rmsNorm(g, stream, { weight, epsilon }) }
  const [normed, , , hidden] = g.applyAll('SkipSimplifiedLayerNormalization', [stream, added, weight], {
    epsilon,
  })
  return { hidden, normed }
}

/** x / sqrt(mean(x²) + epsilon) · weight, row by row. */
export function rmsNorm(
  g: GraphBuilder,
  x: Value,
  { weight, epsilon }: { weight: Value; epsilon: number },
): Value {
  return g.apply('SimplifiedLayerNormalization', [x, weight], { axis: -1, epsilon })
}

/** Where a layer's rows stand in their sequences, and the rows cached before them. */
export interface AttentionContext {
  readonly config: ModelConfig
  /** int64 [3]: batch, -1, width of qkv; splits the layer's rows [n, width] into sequences. */
  readonly sequences: Value
  /** int32 [batch]: position of each sequence's last row. */
  readonly lastRow: Value
  /** int32 scalar: rows of the longest sequence, cached ones included. */
  readonly totalRows: Value
  readonly rope: { readonly cos: Value; readonly sin: Value }
  /** [batch, kvHeads, capacity, headDim] each. */
  readonly past: { readonly key: Value; readonly value: Value } | undefined
}

/** Causal self-attention with rotary positions over the rows of one layer: [n, heads · headDim] and the new cache. */
export function attend(
  g: GraphBuilder,
  x: Value,
  { weights, context }: { weights: LayerWeights; context: AttentionContext },
): { attended: Value; key: Value; value: Value } {
  const { heads, kvHeads, headDim } = context.config
  const qkv = weights.qkv.multiply(g, x)
  const width = dimAt(qkv.shape, 1)
  const packed = shaped(g.apply('Reshape', [qkv, context.sequences]), ['batch', 'rows', width])
  const [attended, key, value] = g.applyAll(
    'GroupQueryAttention',
    [
      packed,
      undefined,
      undefined,
      context.past?.key,
      context.past?.value,
      context.lastRow,
      context.totalRows,
      context.rope.cos,
      context.rope.sin,
    ],
    { num_heads: heads, kv_num_heads: kvHeads, do_rotary: 1 },
  )
  const flat = g.apply('Reshape', [attended, g.constant('int64', [-1, heads * headDim])])
  return { attended: shaped(flat, ['rows', heads * headDim]), key, value }
}

/** down · (silu(gate · x) ⊙ up · x), row by row (https://arxiv.org/abs/2002.05202, SwiGLU). */
export function feedForward(
  g: GraphBuilder,
  x: Value,
  { weights, config }: { weights: LayerWeights; config: ModelConfig },
): Value {
  const merged = weights.gateUp.multiply(g, x)
  const [gate, up] = g.applyAll('Split', [merged, g.constant('int64', [config.ffn, config.ffn])], {
    axis: -1,
  })
  if (gate === undefined || up === undefined) throw new Error('Split gives two parts')
  const activated = g.apply('QuickGelu', [gate], { alpha: 1 })
  return weights.down.multiply(g, g.apply('Mul', [activated, up]))
}
