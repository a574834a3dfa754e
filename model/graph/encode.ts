import proto from 'onnx-proto'
import type { Graph, GraphNode, Initializer, OnnxAttribute } from './graph.ts'
import { opRows } from './op-rows.ts'
import type { AttributeKind } from './ops.ts'
import { type ElementType, type Shape, unknownDim, type Value } from './values.ts'

const { onnx } = proto
const { DataType, DataLocation } = onnx.TensorProto
const { AttributeType } = onnx.AttributeProto

/** Versions of ONNX's op set: the one of the graphs that serve, and the first with every op of training. */
export type OpsetVersion = 17 | 18

const dataTypes = {
  float32: DataType.FLOAT,
  float16: DataType.FLOAT16,
  bfloat16: DataType.BFLOAT16,
  int8: DataType.INT8,
  uint8: DataType.UINT8,
  int32: DataType.INT32,
  int64: DataType.INT64,
  bool: DataType.BOOL,
} as const satisfies Record<ElementType, number>

/**
 * An ONNX model (https://onnx.ai/onnx/repo-docs/IR.html). Initializers with an offset are read from the file
 * `weightsFile` beside the model, so that a model may be larger than the 2 GiB of one protobuf message.
 */
export function encodeModel(
  graph: Graph,
  {
    weightsFile,
    opset = 17,
    sizes = [],
  }: { weightsFile: string; opset?: OpsetVersion; sizes?: readonly string[] },
): Uint8Array {
  return onnx.ModelProto.encode({
    irVersion: 8,
    producerName: 'quartet',
    opsetImport: [
      { domain: '', version: opset },
      { domain: 'com.microsoft', version: 1 },
    ],
    graph: {
      ...encodeGraph(graph, weightsFile),
      valueInfo: knownValues(graph, new Set(sizes)).map(encodeValue),
    },
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

/** Values between nodes whose every size is a number or one of these names. */
function knownValues(graph: Graph, sizes: ReadonlySet<string>): Value[] {
  const found = new Map<string, Value>()
  if (sizes.size === 0) return []
  const own = new Set(
    [...graph.inputs, ...graph.initializers, ...graph.outputs.values()].map(({ name }) => name),
  )
  for (const { inputs, outputs } of graph.nodes)
    for (const value of [...inputs, ...outputs])
      if (
        value !== undefined &&
        !own.has(value.name) &&
        value.shape.every((dim) => typeof dim === 'number' || sizes.has(dim))
      )
        found.set(value.name, value)
  return [...found.values()]
}

const encodeShape = (shape: Shape): proto.onnx.ITensorShapeProto => ({
  dim: shape.map((dim) =>
    typeof dim === 'number' ? { dimValue: dim } : dim === unknownDim ? {} : { dimParam: dim },
  ),
})

function encodeValue({ name, type, shape }: Value): proto.onnx.IValueInfoProto {
  return { name, type: { tensorType: { elemType: dataTypes[type], shape: encodeShape(shape) } } }
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

function encodeNode(node: GraphNode, { rename, weightsFile }: NodeContext): proto.onnx.INodeProto {
  const { attributes, domain = '', operator = { name: node.op, fixed: {} } } = opRows[node.op]
  const kinds: Readonly<Record<string, AttributeKind>> = attributes
  const name = (value: Value | undefined) => (value === undefined ? '' : rename(value.name))
  return {
    name: node.name,
    opType: operator.name,
    domain,
    input: node.inputs.map(name),
    output: node.outputs.map(name),
    attribute: [
      ...Object.entries(node.attributes).map(([key, value]) => ({
        name: key,
        ...encodeAttribute(value, { kind: kinds[key], weightsFile }),
      })),
      ...Object.entries(operator.fixed).map(([key, text]) => ({
        name: key,
        type: AttributeType.STRING,
        s: new TextEncoder().encode(text),
      })),
    ],
  }
}

function encodeAttribute(
  value: OnnxAttribute,
  { kind, weightsFile }: { kind: AttributeKind | undefined; weightsFile: string },
): proto.onnx.IAttributeProto {
  if (typeof value === 'number')
    return kind === 'float' ? { type: AttributeType.FLOAT, f: value } : { type: AttributeType.INT, i: value }
  if (typeof value === 'string') return { type: AttributeType.INT, i: dataTypes[value] }
  if ('nodes' in value) return { type: AttributeType.GRAPH, g: encodeGraph(value, weightsFile) }
  return { type: AttributeType.INTS, ints: [...value] }
}
