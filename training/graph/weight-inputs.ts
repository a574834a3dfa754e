import type { GraphBuilder } from '../../model/graph/builder.ts'
import { f32 } from '../../model/graph/float-matrix.ts'
import type { Matrix, MatrixShape } from '../../model/graph/matrix-format.ts'
import type { Value } from '../../model/graph/values.ts'
import type { StackedTensors, WeightLayout } from '../../model/graph/weight-file.ts'

/** The name of the graph's input for one of the backbone's tensors. */
export const weightInput = (name: string) => `backbone.${name}`

/**
 * A backbone's weights as graph inputs in f32: forward and backward pass, and every graph of a training, then share
 * one copy in memory. The runtime packs constants anew for each of their uses, but not inputs.
 */
export class WeightInputs implements WeightLayout {
  readonly #inputs = new Map<string, Value>()

  /** The tensors asked for: `weightInput` of each name is an input. */
  get shapes(): ReadonlyMap<string, readonly number[]> {
    return new Map(Array.from(this.#inputs, ([name, { shape }]) => [name, shape.map(Number)]))
  }

  matrix(g: GraphBuilder, name: string, { parts, columns }: Parameters<WeightLayout['matrix']>[2]): Matrix {
    const shape: MatrixShape = { rows: parts.reduce((sum, { rows }) => sum + rows, 0), columns }
    const input = this.#input(g, name, [shape.rows, shape.columns])
    return f32.matrix(shape, () => input, 'f32')
  }

  vector(g: GraphBuilder, name: string, length: number): Value {
    return this.#input(g, name, [length])
  }

  vectors(g: GraphBuilder, name: string, parts: StackedTensors): Value {
    return this.#input(g, name, [parts.reduce((sum, { rows }) => sum + rows, 0)])
  }

  table(g: GraphBuilder, name: string, { shape }: { shape: readonly number[] }): Value {
    return this.#input(g, name, shape)
  }

  #input(g: GraphBuilder, name: string, shape: readonly number[]): Value {
    const before = this.#inputs.get(name)
    if (before !== undefined) return before
    const input = g.input(weightInput(name), 'float32', shape)
    this.#inputs.set(name, input)
    return input
  }
}
