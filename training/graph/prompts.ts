import type { GraphBuilder } from '../../model/graph/builder.ts'
import { shaped, type Value } from '../../model/graph/values.ts'
import {
  type AdapterMetadata,
  adapterTensorSpecs,
  carriedFrom,
  ownLayers,
} from '../../shared/adapter-file.ts'
import { type BatchInputs, batchInputNames, sizes } from './batch.ts'
import { type ComputedPool, expand, InstructionInputs, poolRules, projectHidden } from './generator.ts'

/** The names of the graph's input for an adapter's tensor and of the output for its gradient. */
export const parameterInput = (name: string) => `adapter.${name}`
export const gradientOutput = (name: string) => `gradient.${name}`

/** An adapter's prompt rows in a training graph; all its tensors are inputs. */
export class PromptRows {
  readonly metadata: AdapterMetadata
  /** Inputs by the tensors' names. */
  readonly parameters: ReadonlyMap<string, Value>
  /** The layer whose rows are carried on, if any. */
  readonly carriedFrom: number | undefined
  readonly #g: GraphBuilder
  readonly #batch: BatchInputs
  readonly #layers: ReadonlySet<number>
  readonly #instruction: InstructionInputs
  readonly #anchors: Value | undefined

  constructor(g: GraphBuilder, { metadata, batch }: { metadata: AdapterMetadata; batch: BatchInputs }) {
    this.#g = g
    this.#batch = batch
    this.metadata = metadata
    this.carriedFrom = carriedFrom(metadata)
    this.#layers = new Set(ownLayers(metadata))
    this.#instruction = new InstructionInputs(g)
    this.parameters = new Map(
      Array.from(adapterTensorSpecs(metadata), ([name, { shape }]) => [
        name,
        g.input(parameterInput(name), 'float32', shape),
      ]),
    )
    const { layers, d } = metadata
    this.#anchors =
      metadata.anchor === 'sink' ? g.input(batchInputNames.anchors, 'float32', [layers, d]) : undefined
  }

  /**
   * P of a layer, [batch, l_sp, d], or [1, l_sp, d] where it is the same for all; undefined for a layer that makes
   * none.
   *
   * @param reads gives the hidden states that enter the layer, [batch, tokens, d], from the first that a generator reads
   */
  ofLayer(layer: number, reads: () => Value): Value | undefined {
    if (!this.#layers.has(layer)) return undefined
    const parts = [this.#anchor(layer), this.#source(layer, reads)].filter((part) => part !== undefined)
    return parts.reduce((sum, part) => this.#g.apply('Add', [part, sum]))
  }

  /** s_l [d], or the adapter's own rows [1, l_sp, d]. */
  #anchor(layer: number): Value | undefined {
    const { anchor, d } = this.metadata
    if (anchor === 'own') return this.#fixed(`layers.${layer}.anchor`)
    if (this.#anchors === undefined) return undefined
    const index = this.#g.constant('int64', [layer], [])
    return shaped(this.#g.apply('Gather', [this.#anchors, index], { axis: 0 }), [d])
  }

  #fixed(name: string): Value {
    const { l_sp, d } = this.metadata
    const rows = this.#g.apply('Unsqueeze', [this.#parameter(name), this.#g.constant('int64', [0])])
    return shaped(rows, [1, l_sp, d])
  }

  #source(layer: number, reads: () => Value): Value {
    const { metadata } = this
    if (metadata.kind === 'static') return this.#fixed(`layers.${layer}.static`)
    const isShared = metadata.kind === 'idpg' && metadata.generator === 'shared'
    const tensor = (name: string) => this.#parameter(isShared ? `shared.${name}` : `layers.${layer}.${name}`)
    const { activation } = metadata
    const of = { instruction: this.#instruction, query: () => tensor('query') }
    const { z, pool } =
      metadata.kind === 'ipt'
        ? { z: this.#tableRows(tensor('table')), pool: 'mean' as const }
        : {
            z: this.#projected(reads(), { down: tensor('down'), pool: poolOf(metadata) }),
            pool: poolOf(metadata),
          }
    return expand(this.#g, poolRules[pool](this.#g, z, of), {
      up: tensor('up'),
      activation,
      rational: () => tensor('rational'),
      rows: metadata,
    })
  }

  #projected(hidden: Value, { down, pool }: { down: Value; pool: ComputedPool }): Value {
    const isCut = hidden.shape[1] === sizes.instruction
    const read = isCut ? hidden : this.#instruction.cut(hidden, this.#lengths(pool))
    return projectHidden(this.#g, read, down)
  }

  /** The table's rows of the instruction's tokens: [batch, instruction, m]. */
  #tableRows(table: Value): Value {
    const ids = this.#instruction.cut(this.#batch.tokens, this.#lengths('mean'))
    return this.#g.apply('Gather', [table, ids], { axis: 0 })
  }

  /** The input that a pool reads anyway, whose last axis is the instruction. */
  #lengths(pool: ComputedPool): Value {
    return pool === 'mean' ? this.#instruction.share : this.#instruction.mask
  }

  #parameter(name: string): Value {
    const value = this.parameters.get(name)
    if (value === undefined) throw new Error(`an adapter of kind ${this.metadata.kind} has no tensor ${name}`)
    return value
  }
}

function poolOf(metadata: Exclude<AdapterMetadata, { kind: 'static' | 'ipt' }>): ComputedPool {
  return metadata.kind === 'iapt' ? 'attention' : metadata.pool
}
