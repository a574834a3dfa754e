import { GraphBuilder } from './builder.ts'
import type { Graph } from './graph.ts'
import type { ElementType } from './values.ts'

export interface CrossingTensor {
  readonly name: string
  readonly type: ElementType
  readonly axes: number
}

/**
 * The graph that brings tensors to a device or back: output `{name}` is input `from.{name}`. A run may have the one in the
 * host's memory and the other in the device's; a call that copies between them is not part of ONNX Runtime's API for every
 * provider.
 */
export function crossingGraph(tensors: readonly CrossingTensor[]): Graph {
  const g = new GraphBuilder()
  for (const { axes, name, type } of tensors) {
    const shape = Array.from({ length: axes }, (_, axis) => `${name}.${axis}`)
    g.output(name, g.apply('Identity', [g.input(`from.${name}`, type, shape)]))
  }
  return g.build('crossing')
}
