import proto from 'onnx-proto'
import { onlyUsed } from './used-nodes.ts'

const { onnx } = proto

type Node = proto.onnx.INodeProto

/**
 * The part of a serving graph that decodes: one token for each sequence, and the logits of all, in the order of `tokens`. No
 * branch makes prompt rows and no operator chooses rows, so it has no control flow, and nothing of it is computed on the host
 * once its cache is in pages. Its logits are those of the serving graph bit for bit.
 */
export function decodeOnly(model: Uint8Array): Uint8Array {
  const decoded = onnx.ModelProto.decode(model)
  const { graph } = decoded
  if (!graph) throw new Error('a model without a graph')
  const straight = new Straightened()
  for (const node of graph.node ?? []) straight.add(node)
  graph.output = (graph.output ?? []).filter(({ name }) => name !== 'hidden')
  const wanted = graph.output.map(({ name }) => name ?? '')
  graph.node = onlyUsed(straight.nodes, wanted)
  const read = new Set(graph.node.flatMap(({ input }) => input ?? []))
  graph.input = (graph.input ?? []).filter(({ name }) => read.has(name ?? ''))
  graph.initializer = (graph.initializer ?? []).filter(({ name }) => read.has(name ?? ''))
  return onnx.ModelProto.encode(decoded).finish()
}

/** The nodes of a graph as a run takes them that makes no prompt rows and wants all rows. */
class Straightened {
  readonly nodes: Node[] = []
  /** The value that stands for another. */
  readonly #instead = new Map<string, string>()
  /** Inputs that choose rows of a run, and what is made of them. */
  readonly #choosing = new Set(['token_rows', 'output_rows', 'logit_rows'])

  add(node: Node): void {
    const input = (node.input ?? []).map((name) => this.#instead.get(name) ?? name)
    const [first = '', indices = ''] = input
    const outputs = node.output ?? []
    if (node.opType === 'If') this.#inline(node)
    else if (this.#choosing.has(first)) for (const name of outputs) this.#choosing.add(name)
    else if (node.opType === 'Gather' && this.#choosing.has(indices)) this.#replace(outputs, [first])
    else this.nodes.push({ ...node, input })
  }

  /** The branch in which a layer makes no prompt rows. */
  #inline({ attribute, output }: Node): void {
    const branch = attribute?.find(({ name }) => name === 'else_branch')?.g
    for (const node of branch?.node ?? []) this.add(node)
    this.#replace(
      output ?? [],
      (branch?.output ?? []).map(({ name = '' }) => this.#instead.get(name ?? '') ?? name ?? ''),
    )
  }

  #replace(names: readonly string[], values: readonly string[]): void {
    for (const [at, name] of names.entries()) this.#instead.set(name, values[at] ?? '')
  }
}
