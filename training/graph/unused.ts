import type { Graph, GraphNode } from '../../model/graph/graph.ts'

/** A graph without the nodes, inputs and constants that none of its outputs needs. */
export function withoutUnused(graph: Graph): Graph {
  const needed = new Set(Array.from(graph.outputs.values(), ({ name }) => name))
  const nodes: GraphNode[] = []
  for (const node of graph.nodes.toReversed()) {
    if (!node.outputs.some((value) => value !== undefined && needed.has(value.name))) continue
    nodes.push(node)
    for (const input of node.inputs) if (input !== undefined) needed.add(input.name)
  }
  const isNeeded = ({ name }: { name: string }) => needed.has(name)
  return {
    ...graph,
    inputs: graph.inputs.filter(isNeeded),
    initializers: graph.initializers.filter(isNeeded),
    nodes: nodes.reverse(),
  }
}
