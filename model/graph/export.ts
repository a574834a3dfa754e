import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { StoredWeights } from '../../shared/backbone.ts'
import type { TensorSource } from '../architectures/tensor-source.ts'
import { encodeModel } from './encode.ts'
import { servingGraph, traceGraph } from './model.ts'
import { WeightFile, type WeightLayout } from './weight-file.ts'

/** Names of the files that `exportGraph` writes. */
export const graphFiles = { serving: 'model.onnx', trace: 'trace.onnx', weights: 'weights.bin' } as const

/**
 * Writes a model as ONNX graphs with their weights beside them, reading one tensor at a time; gives where the weights lie,
 * for graphs that multiply in f32.
 * Throws `backbone_invalid` when the weights cannot be stored in this format.
 */
export async function exportGraph(
  source: TensorSource,
  { folder, ...stored }: StoredWeights & { folder: string },
): Promise<WeightLayout> {
  const { config } = source
  const weights = new WeightFile(stored, source)
  const layout = weights.inF32()
  const invertibleNorms = await normsAreInvertible(source)
  const graphs = [
    [graphFiles.serving, servingGraph({ config, weights, invertibleNorms })],
    [graphFiles.trace, traceGraph({ config, weights: layout })],
  ] as const
  await mkdir(folder, { recursive: true })
  await weights.write(join(folder, graphFiles.weights), source)
  for (const [name, graph] of graphs)
    await writeFile(join(folder, name), encodeModel(graph, { weightsFile: graphFiles.weights, opset: 18 }), {
      flag: 'wx',
    })
  return layout
}

/** Far from the smallest f32, so that what a norm's weight has scaled down keeps all its digits. */
const smallestWeight = 2 ** -64

async function normsAreInvertible(source: TensorSource): Promise<boolean> {
  if (source.config.norms === 'after') return false
  for (let layer = 0; layer < source.config.layers; layer++) {
    const weight = await source.read(`layers.${layer}.attn_norm`)
    if (weight.some((x) => Math.abs(x) < smallestWeight)) return false
  }
  return true
}
