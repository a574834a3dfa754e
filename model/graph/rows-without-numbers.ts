import proto from 'onnx-proto'

const { onnx } = proto
const { DataType } = onnx.TensorProto
type Graph = proto.onnx.IGraphProto

const zero = 'rows_without_numbers.zero'

/**
 * A serving graph whose results are no numbers where prompt rows are none: times zero, summed up and added to the residual
 * stream of the run that makes them, rows that are numbers change nothing. A cache in f32 needs none of it, as keys and values
 * that are no numbers make attention's results none; one of whole numbers takes NaN for a number.
 *
 * A run that makes rows must be one of their sequence alone.
 */
export function passingOnNaN(model: Uint8Array): Uint8Array {
  const decoded = onnx.ModelProto.decode(model)
  const { graph } = decoded
  if (!graph) throw new Error('the model has no graph')
  if (passOnIn(graph) === 0) throw new Error('the graph makes no prompt rows')
  const initializers = graph.initializer ?? []
  initializers.push({
    name: zero,
    dataType: DataType.FLOAT,
    dims: [],
    rawData: new Uint8Array(Float32Array.of(0).buffer),
  })
  graph.initializer = initializers
  return onnx.ModelProto.encode(decoded).finish()
}

/** Changes the branches that enter a layer with prompt rows; how many there are. */
function passOnIn(graph: Graph): number {
  const nodes = graph.node ?? []
  const [stream, entered] = graph.output ?? []
  let count = 0
  for (const { g } of nodes.flatMap(({ attribute }) => attribute ?? [])) if (g) count += passOnIn(g)
  // `insert` (prompt-rows.ts): the branch's second result is the rows among the tokens'.
  const inserting = nodes.find(
    ({ opType, output }) =>
      opType === 'ScatterND' && output?.[0] !== undefined && output[0] === entered?.name,
  )
  const rows = inserting?.input?.[2]
  const hidden = stream?.name
  if (rows === undefined || !stream || !hidden) return count
  const name = `${inserting?.output?.[0]}.numbers`
  nodes.push(
    { opType: 'Mul', input: [rows, zero], output: [`${name}.nil`] },
    {
      opType: 'ReduceSum',
      input: [`${name}.nil`],
      output: [`${name}.sum`],
      attribute: [{ name: 'keepdims', type: onnx.AttributeProto.AttributeType.INT, i: 0 }],
    },
    { opType: 'Add', input: [hidden, `${name}.sum`], output: [`${name}.stream`] },
  )
  graph.node = nodes
  stream.name = `${name}.stream`
  return count + 1
}
