import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import proto from 'onnx-proto'
import { prepareCacheGraph } from '../../model/calibration/cache-graph.ts'
import { type PagedType, pagedGraphs, pageRowsOf } from '../../model/graph/paged-cache.ts'
import type { ModelConfig } from '../../shared/backbone.ts'
import type { TinyBackbone } from './tiny-backbone.ts'

const { onnx } = proto
const { DataType } = onnx.TensorProto
const { AttributeType } = onnx.AttributeProto

type Attributes = Readonly<Record<string, number | readonly number[]>>

/** Prepares the graphs with a cache in pages such that the CPU provider, which has no `PagedAttention`, can run them. */
export async function preparePagesOnCpu(
  backbone: TinyBackbone,
  { tokens, type = 'f16' }: { type?: PagedType; tokens?: readonly number[] } = {},
): Promise<void> {
  await prepareCacheGraph(backbone, { layout: 'pages', type }, tokens)
  for (const name of Object.values(pagedGraphs[type])) {
    const file = join(backbone.folder, name)
    await writeFile(file, withPlainAttention(await readFile(file), backbone.manifest.config))
  }
}

/**
 * Writes each `PagedAttention` in ONNX's own operators, by the operator's definition: a new row goes where the block table
 * says, and a query sees the rows of its own sequence up to its own. Every query is compared with every row of all pages.
 */
function withPlainAttention(model: Uint8Array, config: ModelConfig): Uint8Array {
  const decoded = onnx.ModelProto.decode(model)
  const { graph } = decoded
  if (!graph) throw new Error('a model without a graph')
  const written = new Written()
  for (const node of graph.node ?? [])
    if (node.opType === 'PagedAttention') attendPlainly(written, node, config)
    else written.nodes.push(node)
  graph.node = written.nodes
  graph.initializer = [...(graph.initializer ?? []), ...written.constants.values()]
  return onnx.ModelProto.encode(decoded).finish()
}

class Written {
  readonly nodes: proto.onnx.INodeProto[] = []
  readonly constants = new Map<string, proto.onnx.ITensorProto>()

  op(opType: string, input: readonly string[], attributes: Attributes = {}, output?: string): string {
    const name = output ?? `plain.${this.nodes.length}`
    this.nodes.push({
      name: `${name}.node`,
      opType,
      ...(opType === 'RotaryEmbedding' ? { domain: 'com.microsoft' } : {}),
      input: [...input],
      output: [name],
      attribute: Object.entries(attributes).map(([key, value]) =>
        typeof value === 'number'
          ? { name: key, type: AttributeType.INT, i: value }
          : { name: key, type: AttributeType.INTS, ints: [...value] },
      ),
    })
    return name
  }

  numbers(values: readonly number[], dims: readonly number[] = [values.length]): string {
    const name = `plain.int64[${dims}]:${values}`
    const rawData = new Uint8Array(BigInt64Array.from(values, BigInt).buffer)
    this.constants.set(name, { name, dataType: DataType.INT64, dims: [...dims], rawData })
    return name
  }

  float(value: number): string {
    const name = `plain.float:${value}`
    const rawData = new Uint8Array(Float32Array.of(value).buffer)
    this.constants.set(name, { name, dataType: DataType.FLOAT, dims: [], rawData })
    return name
  }

  cast(value: string, to: number): string {
    return this.op('Cast', [value], { to })
  }
}

function attendPlainly(w: Written, node: proto.onnx.INodeProto, config: ModelConfig): void {
  const { headDim, heads, kvHeads } = config
  const [
    packed = '',
    givenKey,
    givenValue,
    pastKey = '',
    pastValue = '',
    starts = '',
    past = '',
    table = '',
  ] = node.input ?? []
  const [cos = '', sin = ''] = (node.input ?? []).slice(8)
  const [attended = '', presentKey = '', presentValue = ''] = node.output ?? []
  const attribute = (name: string) => node.attribute?.find((found) => found.name === name)
  const pageRows = pageRowsOf(config)
  const widths = [heads * headDim, kvHeads * headDim, kvHeads * headDim]
  const group = heads / kvHeads
  const long = (value: string) => w.cast(value, DataType.INT64)
  const single = (value: string) => w.cast(value, DataType.FLOAT)
  const at = (value: string, axis: number) => w.op('Unsqueeze', [value, w.numbers([axis])])
  const reshaped = (value: string, dims: readonly number[]) => w.op('Reshape', [value, w.numbers(dims)])
  const zero = w.numbers([0], [])
  const one = w.numbers([1], [])

  // Which sequence each row is of, and its position there.
  const count = w.op('Gather', [w.op('Shape', [packed]), zero], { axis: 0 })
  const rows = w.op('Range', [zero, count, one])
  const begins = long(starts)
  const ends = w.op('Slice', [begins, w.numbers([1]), w.numbers([2 ** 31])])
  const passed = long(w.op('GreaterOrEqual', [at(rows, 1), at(ends, 0)]))
  const sequence = w.op('ReduceSum', [passed, w.numbers([1])], { keepdims: 0 })
  const begin = w.op('Gather', [begins, sequence], { axis: 0 })
  const before = w.op('Gather', [long(past), sequence], { axis: 0 })
  const position = w.op('Add', [before, w.op('Sub', [rows, begin])])

  const part = (from: number, width: number) =>
    w.op('Slice', [packed, w.numbers([from]), w.numbers([from + width]), w.numbers([1])])
  const [qWidth = 0, kWidth = 0] = widths
  const isPacked = !givenKey
  const q = isPacked ? part(0, qWidth) : packed
  const k = isPacked ? part(qWidth, kWidth) : (givenKey ?? '')
  const v = isPacked ? part(qWidth + kWidth, kWidth) : (givenValue ?? '')
  const turned = (x: string, count: number) => {
    if (Number(attribute('do_rotary')?.i ?? 0) === 0) return single(x)
    const inputs = [at(single(x), 0), at(position, 0), single(cos), single(sin)]
    const dims = config.rotary[0]?.dims
    const options = { num_heads: count, ...(dims === undefined ? {} : { rotary_embedding_dim: dims }) }
    return w.op('Squeeze', [w.op('RotaryEmbedding', inputs, options), w.numbers([0])])
  }

  const tables = w.op('Gather', [long(table), sequence], { axis: 0 })
  const size = w.numbers([pageRows], [])
  const page = w.op('GatherElements', [tables, at(w.op('Div', [position, size]), 1)], { axis: 1 })
  const place = w.op('Add', [w.op('Mul', [page, size]), at(w.op('Mod', [position, size]), 1)])
  const cached = (cache: string, fresh: string, { output, scale }: { output: string; scale: string }) => {
    const flat = reshaped(cache, [-1, kvHeads * headDim])
    const scales = scale === '' ? '' : reshaped(scale, [1, kvHeads * headDim])
    const all = w.op('ScatterND', [flat, place, stored(single(fresh), scales)])
    w.op('Reshape', [all, w.numbers([-1, pageRows, kvHeads, headDim])], {}, output)
    const read = scales === '' ? single(all) : w.op('Mul', [single(all), scales])
    return reshaped(read, [-1, kvHeads, headDim])
  }
  const stored = (x: string, scales: string) =>
    scales === ''
      ? w.cast(x, DataType.FLOAT16)
      : w.cast(
          w.op('Clip', [w.op('Round', [w.op('Div', [x, scales])]), w.float(-128), w.float(127)]),
          DataType.INT8,
        )
  const [keyScale = '', valueScale = ''] = (node.input ?? []).slice(14)
  const keys = cached(pastKey, turned(k, kvHeads), { output: presentKey, scale: keyScale })
  const values = cached(pastValue, v, { output: presentValue, scale: valueScale })

  // [rows, rows of all pages]: a page of the sequence that has the row at a position no later.
  const total = w.op('Gather', [w.op('Shape', [keys]), zero], { axis: 0 })
  const places = w.op('Range', [zero, total, one])
  const width = w.op('Gather', [w.op('Shape', [table]), one], { axis: 0 })
  const firsts = at(w.op('Mul', [w.op('Range', [zero, width, one]), size]), 1)
  const positions = at(w.op('Add', [firsts, at(w.op('Mod', [places, size]), 0)]), 0)
  const isThere = w.op('Equal', [at(tables, 2), at(at(w.op('Div', [places, size]), 0), 0)])
  const isBefore = w.op('LessOrEqual', [positions, at(at(position, 1), 2)])
  const seen = w.op('ReduceSum', [long(w.op('And', [isThere, isBefore])), w.numbers([1])], { keepdims: 0 })
  const mask = at(at(w.cast(seen, DataType.BOOL), 1), 0)

  const queries = w.op('Transpose', [reshaped(turned(q, heads), [-1, kvHeads, group, headDim])], {
    perm: [1, 0, 2, 3],
  })
  const byHead = at(w.op('Transpose', [keys], { perm: [1, 2, 0] }), 1)
  const scale = attribute('scale')?.f ?? 1 / Math.sqrt(headDim)
  const products = w.op('Mul', [w.op('MatMul', [queries, byHead]), w.float(scale)])
  const cap = attribute('softcap')?.f ?? 0
  const scores =
    cap === 0 ? products : w.op('Mul', [w.op('Tanh', [w.op('Div', [products, w.float(cap)])]), w.float(cap)])
  const weights = w.op('Softmax', [w.op('Where', [mask, scores, w.float(-1e30)])], { axis: -1 })
  // Rows that nothing was written to may hold anything, and 0 times that must be 0.
  const isNumber = w.op('LessOrEqual', [w.op('Abs', [values]), w.float(65_504)])
  const known = w.op('Where', [isNumber, values, w.float(0)])
  const result = w.op('MatMul', [weights, at(w.op('Transpose', [known], { perm: [1, 0, 2] }), 1)])
  const flat = reshaped(w.op('Transpose', [result], { perm: [1, 0, 2, 3] }), [-1, qWidth])
  w.op('Cast', [flat], { to: DataType.FLOAT16 }, attended)
}
