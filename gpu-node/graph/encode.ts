import proto from 'onnx-proto'
import type { AttributeValue, Graph, Initializer, Node } from './graph.ts'
import { type AttributeKind, opRows } from './ops.ts'
import { type ElementType, type Shape, unknownDim, type Value } from './values.ts'

const { onnx } = proto
const { DataType, DataLocation } = onnx.TensorProto
const { AttributeType } = onnx.AttributeProto

/** Versions of the op sets used; ONNX Runtime accepts every older one. */
const opsetVersions = [
  { domain: '', version: 17 },
  { domain: 'com.microsoft', version: 1 },
]

const dataTypes = {
  float32: DataType.FLOAT,
  float16: DataType.FLOAT16,
  uint8: DataType.UINT8,
  int32: DataType.INT32,
  int64: DataType.INT64,
  bool: DataType.BOOL,
} as const satisfies Record<ElementType, number>

/**
 * An ONNX model (https://onnx.ai/onnx/repo-docs/IR.html). Initializers with an offset are read from the file
 * `weightsFile` beside the model, so that a model may be larger than the 2 GiB of one protobuf message.
 */
export function encodeModel(graph: Graph, { weightsFile }: { weightsFile: string }): Uint8Array {
  return onnx.ModelProto.encode({
    irVersion: 8,
    producerName: 'quartet',
    opsetImport: opsetVersions,
    graph: encodeGraph(graph, weightsFile),
  }).finish()
}

function encodeGraph(graph: Graph, weightsFile: string): proto.onnx.IGraphProto {
  const names = new Map(Array.from(graph.outputs, ([name, value]) => [value.name, name]))
  const rename = (name: string) => names.get(name) ?? name
  return {
    name: graph.name,
    input: graph.inputs.map(encodeValue),
    output: Array.from(graph.outputs, ([name, value]) => encodeValue({ ...value, name })),
    initializer: graph.initializers.map((initializer) => encodeInitializer(initializer, weightsFile)),
    node: graph.nodes.map((node) => encodeNode(node, { rename, weightsFile })),
  }
}

const encodeShape = (shape: Shape): proto.onnx.ITensorShapeProto => ({
  dim: shape.map((dim) =>
    typeof dim === 'number' ? { dimValue: dim } : dim === unknownDim ? {} : { dimParam: dim },
  ),
})

function encodeValue({ name, type, shape, isSequence }: Value): proto.onnx.IValueInfoProto {
  const tensor = { tensorType: { elemType: dataTypes[type], shape: encodeShape(shape) } }
  return { name, type: isSequence ? { sequenceType: { elemType: tensor } } : tensor }
}

function encodeInitializer(
  { name, type, shape, content }: Initializer,
  weightsFile: string,
): proto.onnx.ITensorProto {
  const tensor = { name, dataType: dataTypes[type], dims: shape.map(Number) }
  if ('bytes' in content) return { ...tensor, rawData: content.bytes }
  return {
    ...tensor,
    dataLocation: DataLocation.EXTERNAL,
    externalData: [
      { key: 'location', value: weightsFile },
      { key: 'offset', value: String(content.offset) },
      { key: 'length', value: String(content.length) },
    ],
  }
}

interface NodeContext {
  rename(name: string): string
  readonly weightsFile: string
}

function encodeNode(node: Node, { rename, weightsFile }: NodeContext): proto.onnx.INodeProto {
  const { attributes, domain = '' } = opRows[node.op]
  const kinds: Readonly<Record<string, AttributeKind>> = attributes
  const name = (value: Value | undefined) => (value === undefined ? '' : rename(value.name))
  return {
    name: node.name,
    opType: node.op,
    domain,
    input: node.inputs.map(name),
    output: node.outputs.map(name),
    attribute: Object.entries(node.attributes).map(([key, value]) => ({
      name: key,
      ...encodeAttribute(value, { kind: kinds[key], weightsFile }),
    })),
  }
}

function encodeAttribute(
  value: AttributeValue,
  { kind, weightsFile }: { kind: AttributeKind | undefined; weightsFile: string },
): proto.onnx.IAttributeProto {
  if (typeof value === 'number')
    return kind === 'float' ? { type: AttributeType.FLOAT, f: value } : { type: AttributeType.INT, i: value }
  if (typeof value === 'string') return { type: AttributeType.INT, i: dataTypes[value] }
  if ('nodes' in value) return { type: AttributeType.GRAPH, g: encodeGraph(value, weightsFile) }
  return { type: AttributeType.INTS, ints: [...value] }
}
