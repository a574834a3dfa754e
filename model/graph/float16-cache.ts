import proto from 'onnx-proto'
import { graphVersion } from './version.ts'

const { onnx } = proto
const { DataType } = onnx.TensorProto
const { AttributeType } = onnx.AttributeProto

/** The file of the serving graph with a cache of 16-bit floats, beside the one with an f32 cache. */
export const float16CacheGraph = `f16-cache-${graphVersion}.onnx`

/** The same with queries and keys turned in front of the attention (`withRotaryOutside`). */
export const float16TurnedGraph = `f16-cache-turned-${graphVersion}.onnx`

/** Inputs of GroupQueryAttention that have the type of the queries: q, k, v, cosines, sines and the bias of scores. */
const halfInputs = [0, 1, 2, 7, 8, 10]

/**
 * A serving graph whose attention computes in 16-bit floats: its inputs `past_…` and outputs `present_…` are f16, all else
 * is as it was.
 */
export function withFloat16Cache(model: Uint8Array): Uint8Array {
  const decoded = onnx.ModelProto.decode(model)
  const { graph } = decoded
  if (!graph) throw new Error('a model without a graph')
  /** Values that were cast already: tables that all layers share. */
  const halves = new Map<string, string>()
  const nodes: proto.onnx.INodeProto[] = []
  for (const node of graph.node ?? []) {
    if (node.opType !== 'GroupQueryAttention') {
      nodes.push(node)
      continue
    }
    node.input = (node.input ?? []).map((name, at) => {
      if (name === '' || !halfInputs.includes(at)) return name
      const known = halves.get(name)
      if (known !== undefined) return known
      const half = `${name}.f16`
      halves.set(name, half)
      nodes.push(cast({ from: name, to: half, type: DataType.FLOAT16 }))
      return half
    })
    const [attended = '', ...present] = node.output ?? []
    const half = `${attended}.f16`
    node.output = [half, ...present]
    nodes.push(node, cast({ from: half, to: attended, type: DataType.FLOAT }))
  }
  graph.node = nodes
  for (const { name, type } of [...(graph.input ?? []), ...(graph.output ?? [])])
    if (/^(past|present)_/.test(name ?? '') && type?.tensorType) type.tensorType.elemType = DataType.FLOAT16
  return onnx.ModelProto.encode(decoded).finish()
}

function cast({ from, to, type }: { from: string; to: string; type: number }): proto.onnx.INodeProto {
  return {
    name: `${to}.cast`,
    opType: 'Cast',
    input: [from],
    output: [to],
    attribute: [{ name: 'to', type: AttributeType.INT, i: type }],
  }
}
