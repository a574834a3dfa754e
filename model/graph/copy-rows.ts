import { GraphBuilder } from './builder.ts'
import type { Graph } from './graph.ts'
import type { ElementType } from './values.ts'

/**
 * The graph that copies rows between tensors on a device, which nothing else of ONNX Runtime's API does in part. For each
 * layer, keys and values alike:
 *
 * - `from_key.{l}`, `from_value.{l}` and `to_key.{l}`, `to_value.{l}` [rows, width]; `copied_key.{l}`, `copied_value.{l}`
 *   are the tensors copied to, and to be bound to the same memory.
 * - `sources.{l}` int64 [n], `targets.{l}` int64 [n, 1]: row `sources[i]` is copied to row `targets[i]`. All are read
 *   before the first is written. No target comes twice.
 */
export function copyRowsGraph({
  layers,
  type,
  width,
}: {
  layers: number
  type: ElementType
  width: number
}): Graph {
  const g = new GraphBuilder()
  for (let layer = 0; layer < layers; layer++) {
    const sources = g.input(`sources.${layer}`, 'int64', ['n'])
    const targets = g.input(`targets.${layer}`, 'int64', ['n', 1])
    for (const part of ['key', 'value'] as const) {
      const from = g.input(`from_${part}.${layer}`, type, ['from_rows', width])
      const to = g.input(`to_${part}.${layer}`, type, ['to_rows', width])
      const rows = g.apply('Gather', [from, sources], { axis: 0 })
      g.output(`copied_${part}.${layer}`, g.apply('ScatterND', [to, targets, rows]))
    }
  }
  return g.build('copy_rows')
}
