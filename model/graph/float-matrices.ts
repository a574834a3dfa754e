import proto from 'onnx-proto'
import { centre } from './affine-blocks.ts'
import { blockSize, blocksIn } from './quantise.ts'
import { namesReadBy, onlyUsed } from './used-nodes.ts'

const { onnx } = proto
const { DataType } = onnx.TensorProto
const { AttributeType } = onnx.AttributeProto

type Node = proto.onnx.INodeProto
type Tensor = proto.onnx.ITensorProto

/** Unsigned whole numbers of four bits, two a byte, the first in the low half: a type that the package does not list. */
const uint4 = 21
/** The first versions that have DequantizeLinear by blocks and numbers of four bits. */
const [leastOpset, leastIrVersion] = [21, 10]

/**
 * A graph whose layers multiply in f32: each matrix in 8 or 4 bits becomes the weights that are served by it, which the runtime
 * computes once, when it loads the graph. The head keeps its bits, as only the last row of a prompt goes through it. All else
 * is as it was.
 */
export function withFloatMatrices(model: Uint8Array): Uint8Array {
  const decoded = onnx.ModelProto.decode(model)
  const { graph } = decoded
  if (!graph) throw new Error('a model without a graph')
  const matrices = new FloatMatrices(graph.initializer ?? [])
  const outputs = (graph.output ?? []).map(({ name }) => name ?? '')
  graph.node = onlyUsed(
    (graph.node ?? []).flatMap((node) => matrices.insteadOf(node)),
    outputs,
  )
  const read = new Set(graph.node.flatMap(namesReadBy))
  graph.initializer = matrices.initializers.filter(({ name }) => read.has(name ?? ''))
  decoded.irVersion = Math.max(Number(decoded.irVersion), leastIrVersion)
  for (const opset of decoded.opsetImport ?? [])
    if (!opset.domain) opset.version = Math.max(Number(opset.version), leastOpset)
  return onnx.ModelProto.encode(decoded).finish()
}

/** A matrix as a node multiplies with it. */
interface QuantisedMatrix {
  readonly name: string
  readonly rows: number
  readonly columns: number
  readonly quants: string
  readonly scales: string
  /** None in four bits, whose quants lie around `centre`. */
  readonly zeroPoints: string | undefined
}

class FloatMatrices {
  readonly #tensors: Map<string, Tensor>

  constructor(stored: readonly Tensor[]) {
    this.#tensors = new Map(stored.map((tensor) => [tensor.name ?? '', tensor]))
  }

  /** What the graph had, and what the nodes in the place of its own read. */
  get initializers(): readonly Tensor[] {
    return [...this.#tensors.values()]
  }

  insteadOf(node: Node): readonly Node[] {
    const [x = '', quants = '', scales = '', zeroPoints] = node.input ?? []
    if (!quants.startsWith('layers.')) return [node]
    const output = node.output ?? []
    if (node.opType === 'MatMulNBits') {
      const [rows, columns] = [attributeOf(node, 'N'), attributeOf(node, 'K')]
      const name = quants.slice(0, quants.lastIndexOf('.'))
      const weights = this.#weights({ name, rows, columns, quants, scales, zeroPoints })
      const transposed = whole('transB', 1)
      return [
        ...weights.nodes,
        { ...nodeOf('Gemm', { input: [x, weights.value], output }), attribute: [transposed] },
      ]
    }
    // The weights have their offsets already, which the graph adds to their products: [sums, offsets, product].
    if (node.opType === 'Gemm' && quants.endsWith('.offsets'))
      return [nodeOf('Identity', { input: [scales], output })]
    return [node]
  }

  /** The nodes that make a matrix [rows, columns] in f32. */
  #weights({ columns, name, quants, rows, scales, zeroPoints }: QuantisedMatrix): {
    readonly nodes: readonly Node[]
    readonly value: string
  } {
    const blocks = blocksIn(columns)
    const nodes: Node[] = []
    const add = (opType: string, input: readonly string[], attribute: Node['attribute'] = []): string => {
      const output = `${name}.f32.${nodes.length}`
      nodes.push({ ...nodeOf(opType, { input, output: [output] }), attribute })
      return output
    }
    const type = zeroPoints === undefined ? uint4 : DataType.UINT8
    const flat = this.#as(quants, { dims: [rows, blocks * blockSize], dataType: type })
    const middle = zeroPoints ?? this.#centres(rows, blocks)
    let value = add(
      'DequantizeLinear',
      [flat, scales, middle],
      [whole('axis', 1), whole('block_size', blockSize)],
    )
    if (columns % blockSize !== 0)
      value = add('Slice', [value, this.#numbers([0]), this.#numbers([columns]), this.#numbers([1])])
    // All of these values are in memory until the whole graph is loaded, so that there are as few of them as can be: a product
    // with ones and zeros adds each offset to its block without a value of another shape.
    const offsets = `${name}.offsets`
    if (this.#tensors.has(offsets)) value = add('Gemm', [offsets, this.#blocksOf(columns), value])
    return { nodes, value }
  }

  /** The bytes of a tensor, seen as one of another shape and type. */
  #as(name: string, seen: Required<Pick<Tensor, 'dims' | 'dataType'>>): string {
    const tensor = this.#tensors.get(name)
    if (tensor === undefined) throw new Error(`the graph has no ${name}`)
    return this.#made(`${name}.seen`, () => ({ ...tensor, ...seen }))
  }

  #centres(rows: number, blocks: number): string {
    return this.#made(`centres.${rows}.${blocks}`, () => ({
      dataType: uint4,
      dims: [rows, blocks],
      rawData: new Uint8Array(Math.ceil((rows * blocks) / 2)).fill(centre | (centre << 4)),
    }))
  }

  /** One in each column of a block, [blocks, columns]. */
  #blocksOf(columns: number): string {
    return this.#made(`blocks.${columns}`, () => {
      const blocks = blocksIn(columns)
      const ones = new Float32Array(blocks * columns)
      for (let column = 0; column < columns; column++)
        ones[Math.floor(column / blockSize) * columns + column] = 1
      return { dataType: DataType.FLOAT, dims: [blocks, columns], rawData: new Uint8Array(ones.buffer) }
    })
  }

  #numbers(values: readonly number[]): string {
    return this.#made(`numbers.${values}`, () => ({
      dataType: DataType.INT64,
      dims: [values.length],
      rawData: new Uint8Array(BigInt64Array.from(values, BigInt).buffer),
    }))
  }

  #made(name: string, make: () => Tensor): string {
    if (!this.#tensors.has(name)) this.#tensors.set(name, { ...make(), name })
    return name
  }
}

const nodeOf = (
  opType: string,
  { input, output }: { input: readonly string[]; output: readonly string[] },
): Node => ({ name: `${output[0]}.node`, opType, input: [...input], output: [...output] })

const whole = (name: string, i: number): proto.onnx.IAttributeProto => ({ name, type: AttributeType.INT, i })

function attributeOf({ attribute, name }: Node, wanted: string): number {
  const value = attribute?.find((each) => each.name === wanted)?.i
  if (value === undefined || value === null) throw new Error(`${name} has no ${wanted}`)
  return Number(value)
}
