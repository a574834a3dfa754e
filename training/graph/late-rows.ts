import { attend } from '../../model/graph/attention.ts'
import type { GraphBuilder } from '../../model/graph/builder.ts'
import {
  addAndNorm,
  afterAttention,
  type LayerWeights,
  projected,
  type Residual,
} from '../../model/graph/layer.ts'
import type { RotaryTables } from '../../model/graph/rotary-table.ts'
import { shaped, type Value } from '../../model/graph/values.ts'
import type { ModelConfig } from '../../shared/backbone.ts'
import {
  type BatchInputs,
  type SequenceRows,
  sequenceRows,
  sizeOf,
  sizes,
  toRows,
  toSequences,
} from './batch.ts'
import { repeatedRows } from './placement.ts'

/** A layer of the model. */
interface Layer {
  readonly weights: LayerWeights
  readonly layer: number
}

interface LateOptions {
  readonly config: ModelConfig
  readonly batch: BatchInputs
  readonly rotary: readonly RotaryTables[]
  readonly l_sp: number
  /** f32 [batch · front, d]: the embedded tokens of the fronts. */
  readonly front: Value
}

/** The states of the fronts at a layer. */
interface FrontStates {
  /** [batch · front, d]: what enters the layer. */
  readonly hidden: Value
  /** [batch · front, q, k and v] */
  readonly qkv: Value
}

/**
 * The tokens in front of late rows, or of a newest turn's, and what the tokens behind see of them. The fronts are the
 * backbone's own: no value of them depends on the adapter, so that no gradient passes them and their layers run forward
 * alone.
 */
export class LateRows {
  readonly #g: GraphBuilder
  readonly #options: LateOptions
  readonly #fronts: SequenceRows
  readonly #all: SequenceRows
  #front: Residual

  constructor(g: GraphBuilder, options: LateOptions) {
    const { batch, front, l_sp } = options
    this.#g = g
    this.#options = options
    this.#fronts = sequenceRows(g, [batch.late.frontTokens], 0)
    this.#all = sequenceRows(g, [batch.late.frontTokens, batch.tokens], l_sp)
    this.#front = { stream: front, added: undefined }
  }

  /** Enters a layer with the fronts, in the order of the layers. */
  enter({ weights }: Layer): FrontStates {
    const { hidden, normed } = addAndNorm(this.#g, this.#front, weights.attentionNorm)
    return { hidden, qkv: projected(this.#g, normed, weights) }
  }

  /** Leaves it. The model's last layer is not left: nothing reads the fronts behind it. */
  leave({ hidden, qkv }: FrontStates, { weights, layer }: Layer): void {
    const { config } = this.#options
    const attended = this.#attended(qkv, { sequences: this.#fronts, weights, layer })
    const kept = shaped(attended, [sizes.allFront, config.heads * config.headDim])
    this.#front = afterAttention(this.#g, { stream: hidden, attended: kept }, { weights, config })
  }

  /**
   * A layer's attention over whole sequences: fronts, prompt rows [batch or 1, l_sp, d] and the tokens behind them
   * [n, d], all normed. Gives all rows, [batch · rows, heads · headDim].
   */
  attend(
    states: FrontStates,
    { rows, tokens, weights, layer }: Layer & { readonly rows: Value; readonly tokens: Value },
  ): Value {
    const g = this.#g
    const { batch, config, l_sp } = this.#options
    const { promptRows, tokenRows } = batch.late
    const flat = g.apply('Reshape', [
      repeatedRows(g, rows, { batch, l_sp }),
      g.constant('int64', [-1, config.d]),
    ])
    const behind = g.apply('Concat', [tokens, shaped(flat, [sizes.allPromptRows, config.d])], { axis: 0 })
    const qkv = projected(g, shaped(behind, ['written', config.d]), weights)
    const places = g.apply('Concat', [tokenRows, promptRows], { axis: 0 })
    const all = g.apply('ScatterND', [this.#padded(states.qkv), places, qkv])
    const attended = this.#attended(all, { sequences: this.#all, weights, layer })
    return shaped(attended, [sizes.allRows, config.heads * config.headDim])
  }

  #attended(qkv: Value, { sequences, weights, layer }: Layer & { readonly sequences: SequenceRows }): Value {
    const { config, rotary } = this.#options
    const context = { config, ...sequences, rotary, past: undefined }
    return attend(this.#g, qkv, { context, layer, ...weights }).attended
  }

  /** The tokens behind the fronts among all rows [batch · rows, width]: [n, width]. */
  behind(all: Value): Value {
    const rows = this.#g.apply('GatherND', [all, this.#options.batch.late.tokenRows])
    return shaped(rows, [sizes.allTokens, Number(all.shape[1])])
  }

  /** Rows of fronts [batch · front, width] with room for prompt rows and tokens behind each: [batch · rows, width]. */
  #padded(x: Value): Value {
    const g = this.#g
    const { batch, l_sp } = this.#options
    const room = g.apply('Add', [sizeOf(g, batch.tokens, 1), g.constant('int64', [l_sp])])
    const pads = g.apply('Concat', [g.constant('int64', [0]), room], { axis: 0 })
    const wide = g.apply('Pad', [
      toSequences(g, x, batch),
      shaped(pads, [2]),
      undefined,
      g.constant('int64', [1]),
    ])
    return toRows(g, shaped(wide, [sizes.batch, sizes.rows, Number(x.shape[1])]))
  }
}
