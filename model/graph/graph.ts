import type { OpName } from './ops.ts'
import type { ElementType, Value, ValueType } from './values.ts'

export type OnnxAttribute = number | readonly number[] | ElementType | Graph

/** One application of an op. An input or output that is left out is undefined. */
export interface GraphNode {
  readonly op: OpName
  readonly name: string
  readonly inputs: readonly (Value | undefined)[]
  readonly outputs: readonly (Value | undefined)[]
  readonly attributes: Readonly<Record<string, OnnxAttribute>>
}

/** A constant tensor: its little-endian bytes, or where they lie in the file of weights. */
export interface Initializer extends ValueType {
  readonly name: string
  readonly content: { readonly bytes: Uint8Array } | { readonly offset: number; readonly length: number }
}

/** Nodes in an order in which each value is made before it is used. A branch of an `If` sees the values around it. */
export interface Graph {
  readonly name: string
  readonly inputs: readonly Value[]
  /** The keys are the names that the graph's caller sees. */
  readonly outputs: ReadonlyMap<string, Value>
  readonly initializers: readonly Initializer[]
  readonly nodes: readonly GraphNode[]
}
