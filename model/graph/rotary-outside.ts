import proto from 'onnx-proto'
import type { ModelConfig } from '../../shared/backbone.ts'

const { onnx } = proto
const { DataType } = onnx.TensorProto
const { AttributeType } = onnx.AttributeProto

type Node = proto.onnx.INodeProto

/** Inputs of GroupQueryAttention. */
const [cosAt, sinAt, positionsAt] = [7, 8, 9]

/**
 * A serving graph that turns queries and keys in front of its attention wherever that is told which angles each row has: CUDA's
 * GroupQueryAttention takes them for prompts alone, and turns a decoded row by its place. All else is as it was.
 */
export function withRotaryOutside(
  model: Uint8Array,
  { headDim, heads, kvHeads }: Pick<ModelConfig, 'headDim' | 'heads' | 'kvHeads'>,
): Uint8Array {
  const decoded = onnx.ModelProto.decode(model)
  const { graph } = decoded
  if (!graph) throw new Error('a model without a graph')
  const halves = new Map([
    ...(graph.initializer ?? []).map(({ dims, name }) => [name, Number(dims?.[1])] as const),
    ...(graph.input ?? []).map(
      ({ name, type }) => [name, Number(type?.tensorType?.shape?.dim?.[1]?.dimValue)] as const,
    ),
  ])
  const constants = new Map<string, proto.onnx.ITensorProto>()
  const number = (value: number): string => {
    const name = `outside.int64:${value}`
    const rawData = new Uint8Array(BigInt64Array.of(BigInt(value)).buffer)
    constants.set(name, { name, dataType: DataType.INT64, dims: [1], rawData })
    return name
  }
  const nodes: Node[] = []
  const add = (node: Node & { output: string[] }): string => {
    nodes.push({ name: `${node.output[0]}.node`, ...node })
    return node.output[0] ?? ''
  }
  for (const node of graph.node ?? []) {
    const input = node.input ?? []
    const positions = input[positionsAt] ?? ''
    if (node.opType !== 'GroupQueryAttention' || positions === '') {
      nodes.push(node)
      continue
    }
    const [packed = '', givenKey = '', givenValue = ''] = input
    const [cos = '', sin = ''] = [input[cosAt], input[sinAt]]
    const part = (name: string, from: number, width: number) =>
      add({
        opType: 'Slice',
        input: [packed, number(from), number(from + width), number(2)],
        output: [`${node.name}.${name}`],
      })
    const turned = (x: string, count: number) =>
      add({
        opType: 'RotaryEmbedding',
        domain: 'com.microsoft',
        input: [x, positions, cos, sin],
        output: [`${x}.${node.name}.turned`],
        attribute: [
          { name: 'num_heads', type: AttributeType.INT, i: count },
          { name: 'rotary_embedding_dim', type: AttributeType.INT, i: 2 * (halves.get(cos) ?? 0) },
        ],
      })
    const [qWidth, kvWidth] = [heads * headDim, kvHeads * headDim]
    const isPacked = givenKey === ''
    const q = isPacked ? part('q', 0, qWidth) : packed
    const k = isPacked ? part('k', qWidth, kvWidth) : givenKey
    const v = isPacked ? part('v', qWidth + kvWidth, kvWidth) : givenValue
    const others = input
      .slice(3)
      .map((name, at) => ([cosAt, sinAt, positionsAt].includes(at + 3) ? '' : name))
    nodes.push({
      ...node,
      input: [turned(q, heads), turned(k, kvHeads), v, ...others],
      attribute: (node.attribute ?? []).map((attribute) =>
        attribute.name === 'do_rotary' ? { ...attribute, i: 0 } : attribute,
      ),
    })
  }
  graph.node = nodes
  graph.initializer = [...(graph.initializer ?? []), ...constants.values()]
  return onnx.ModelProto.encode(decoded).finish()
}
