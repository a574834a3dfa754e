import proto from 'onnx-proto'
import type { ModelConfig } from '../../shared/backbone.ts'
import { int8Version } from './int8-cache.ts'
import { hasWindows } from './model.ts'
import { scalesWithLength } from './rotary-table.ts'
import { onlyUsed } from './used-nodes.ts'
import { graphVersion } from './version.ts'

const { onnx } = proto
const { DataType } = onnx.TensorProto
const { AttributeType } = onnx.AttributeProto

type Node = proto.onnx.INodeProto

/** Raise it with every change of `withPagedCache` or `decodeOnly`: folders hold what earlier ones wrote. */
const pagesVersion = 2

/** Types of keys and values in pages. */
export type PagedType = 'f16' | 'int8'

/** The files of the serving graph with a cache in pages, beside the one with slots, and of its decoding part (`decodeOnly`). */
export const pagedGraphs: Readonly<Record<PagedType, { readonly serving: string; readonly decode: string }>> =
  {
    f16: graphsNamed('pages', `${pagesVersion}`),
    int8: graphsNamed('pages-int8', `${pagesVersion}-${int8Version}`),
  }

function graphsNamed(name: string, version: string): { serving: string; decode: string } {
  const end = `${graphVersion}-${version}.onnx`
  return { serving: `${name}-${end}`, decode: `${name}-decode-${end}` }
}

/** Rows of a page that a head's width lets FlashAttention read whole tiles of, in ONNX Runtime's CUDA provider. */
export const pageRowsOf = ({ headDim }: Pick<ModelConfig, 'headDim'>): number =>
  headDim <= 64 ? 256 : headDim <= 128 ? 128 : 64

/** Why a model's attention cannot be computed over pages; undefined where it can. */
export function reasonAgainstPages(config: ModelConfig): string | undefined {
  if (hasWindows(config))
    return 'its layers see a window of rows, and an adapter’s rows must stay in view behind it, which PagedAttention does not know'
  if (scalesWithLength(config)) return 'its rotary angles depend on a sequence’s length'
  return undefined
}

/** Attributes that both operators have. */
const sharedAttributes: readonly string[] = [
  'num_heads',
  'kv_num_heads',
  'do_rotary',
  'scale',
  'softcap',
  'k_quant_type',
  'v_quant_type',
]

/**
 * A serving graph whose cache lies in pages (`com.microsoft.PagedAttention`), computed in 16-bit floats; an 8-bit cache stays
 * one (`withInt8Cache`). Its sequences may have any number of rows each, one behind the other. In place of `last_row` and
 * `total_rows` it has the inputs
 *
 * - `row_starts` int32 [layers, batch + 1]: where each sequence's rows begin in the layer, and where the last ones end;
 * - `past_rows` int32 [layers, batch]: rows of each sequence that the layer's cache holds;
 * - `block_table` int32 [batch, pages]: a sequence's pages in order, the same in every layer;
 * - `row_bounds` int32 [3]: no sequence has more new rows, none has more rows in all, and one has as many at least.
 *
 * The sizes of `tokens` int64 say nothing: it holds the tokens of all sequences, one behind the other.
 *
 * `past_key.{l}` and the like are [pages, page's rows, kvHeads, headDim], and `present_key.{l}` must be the same memory.
 * Throws where the model has an attention that pages do not have (`reasonAgainstPages`).
 */
export function withPagedCache(model: Uint8Array, config: ModelConfig): Uint8Array {
  const reason = reasonAgainstPages(config)
  if (reason !== undefined) throw new Error(`no pages for this model: ${reason}`)
  const decoded = onnx.ModelProto.decode(model)
  const { graph } = decoded
  if (!graph) throw new Error('a model without a graph')
  const nodes = graph.node ?? []
  const made = new Map(nodes.flatMap((node) => (node.output ?? []).map((name) => [name, node] as const)))
  const rewritten = new Rewritten(made)
  for (const node of nodes)
    if (node.opType === 'GroupQueryAttention') rewritten.page(node)
    else rewritten.nodes.push(node)
  const outputs = (graph.output ?? []).map(({ name }) => name ?? '')
  graph.node = onlyUsed(rewritten.nodes, outputs)
  graph.initializer = [...(graph.initializer ?? []), ...rewritten.layerNumbers]
  const pages = [
    size('pages'),
    { dimValue: pageRowsOf(config) },
    { dimValue: config.kvHeads },
    { dimValue: config.headDim },
  ]
  for (const { name, type } of [...(graph.input ?? []), ...(graph.output ?? [])])
    if (/^(past|present)_(key|value)\./.test(name ?? '') && type?.tensorType)
      type.tensorType = {
        elemType: type.tensorType.elemType === DataType.INT8 ? DataType.INT8 : DataType.FLOAT16,
        shape: { dim: pages },
      }
  for (const initializer of graph.initializer)
    if (rewritten.scales.has(initializer.name ?? '')) initializer.dims = [config.kvHeads, 1, config.headDim]
  const tokens = graph.input?.find(({ name }) => name === 'tokens')?.type?.tensorType
  if (tokens) tokens.shape = { dim: [size('token_lists'), size('tokens_of_list')] }
  const layers = { dimValue: config.layers }
  graph.input = [
    ...(graph.input ?? []).filter(({ name }) => name !== 'last_row' && name !== 'total_rows'),
    integers('row_starts', [layers, size('batch_and_1')]),
    integers('past_rows', [layers, size('batch')]),
    integers('block_table', [size('batch'), size('pages_of_sequence')]),
    integers('row_bounds', [{ dimValue: 3 }]),
  ]
  return onnx.ModelProto.encode(decoded).finish()
}

/** The nodes of a graph in which each attention is over pages. */
class Rewritten {
  readonly nodes: Node[] = []
  readonly layerNumbers: proto.onnx.ITensorProto[] = []
  /** Names of the scales of 8-bit keys and values. */
  readonly scales = new Set<string>()
  readonly #made: ReadonlyMap<string, Node>
  /** Values that were cast already: tables that all layers share. */
  readonly #halves = new Map<string, string>()

  constructor(made: ReadonlyMap<string, Node>) {
    this.#made = made
  }

  page(node: Node): void {
    const layer = this.layerNumbers.length
    const [q = '', k = '', v = '', pastKey = '', pastValue = '', , , cos = '', sin = '', ...others] =
      node.input ?? []
    const [positions, bias, sink, keyScale = '', valueScale = ''] = others
    if (positions || bias || sink) throw new Error('an attention with positions or a bias has no pages')
    for (const scale of [keyScale, valueScale]) if (scale !== '') this.scales.add(scale)
    const number = `layer.${layer}`
    this.layerNumbers.push({
      name: number,
      dataType: DataType.INT64,
      dims: [],
      rawData: new Uint8Array(BigInt64Array.of(BigInt(layer)).buffer),
    })
    const ofLayer = (input: string) => {
      const name = `${input}.${layer}`
      this.nodes.push({
        name,
        opType: 'Gather',
        input: [input, number],
        output: [name],
        attribute: [{ name: 'axis', type: AttributeType.INT, i: 0 }],
      })
      return name
    }
    const [attended = '', ...present] = node.output ?? []
    const half = `${attended}.f16`
    const rows = (name: string) => this.#half(this.#flat(name))
    this.nodes.push({
      name: node.name ?? null,
      opType: 'PagedAttention',
      domain: 'com.microsoft',
      input: [
        rows(q),
        rows(k),
        rows(v),
        pastKey,
        pastValue,
        ofLayer('row_starts'),
        ofLayer('past_rows'),
        'block_table',
        this.#half(cos),
        this.#half(sin),
        ...Array<string>(4).fill(''),
        keyScale,
        valueScale,
        'row_bounds',
      ],
      output: [half, ...present],
      attribute: (node.attribute ?? []).filter(({ name }) => sharedAttributes.includes(name ?? '')),
    })
    this.#cast({ from: half, to: attended, type: DataType.FLOAT })
  }

  /** The rows [n, width] that were split into sequences. */
  #flat(name: string): string {
    if (name === '') return ''
    const reshape = this.#made.get(name)
    const flat = reshape?.opType === 'Reshape' ? reshape.input?.[0] : undefined
    if (flat === undefined) throw new Error(`${name} is not split into sequences`)
    return flat
  }

  #half(name: string): string {
    if (name === '') return ''
    const known = this.#halves.get(name)
    if (known !== undefined) return known
    const half = `${name}.f16`
    this.#halves.set(name, half)
    this.#cast({ from: name, to: half, type: DataType.FLOAT16 })
    return half
  }

  #cast({ from, to, type }: { from: string; to: string; type: number }): void {
    this.nodes.push({
      name: `${to}.cast`,
      opType: 'Cast',
      input: [from],
      output: [to],
      attribute: [{ name: 'to', type: AttributeType.INT, i: type }],
    })
  }
}

const size = (name: string): proto.onnx.TensorShapeProto.IDimension => ({ dimParam: name })

const integers = (
  name: string,
  dim: readonly proto.onnx.TensorShapeProto.IDimension[],
): proto.onnx.IValueInfoProto => ({
  name,
  type: { tensorType: { elemType: DataType.INT32, shape: { dim: [...dim] } } },
})
