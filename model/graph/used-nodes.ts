import type proto from 'onnx-proto'

type Node = proto.onnx.INodeProto

/** The nodes that something wanted comes of, in their order. */
export function onlyUsed(nodes: readonly Node[], wanted: readonly string[]): Node[] {
  const used = new Set(wanted)
  const kept: Node[] = []
  for (const node of nodes.toReversed()) {
    if (!(node.output ?? []).some((name) => used.has(name))) continue
    kept.push(node)
    for (const name of namesReadBy(node)) used.add(name)
  }
  return kept.reverse()
}

/** Names that a node reads, in its branches too. */
export function namesReadBy({ attribute, input }: Node): readonly string[] {
  const inner = (attribute ?? []).flatMap(({ g }) => [
    ...(g?.node ?? []).flatMap(namesReadBy),
    ...(g?.output ?? []).map(({ name }) => name ?? ''),
  ])
  return [...(input ?? []), ...inner]
}
