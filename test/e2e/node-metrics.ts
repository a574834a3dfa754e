import { z } from 'zod'

/** A gauge of a node's `/metrics`, now. */
export async function nodeGauge(node: string, name: 'running' | 'queue_length'): Promise<number> {
  const text = await (await fetch(`${node}/metrics`)).text()
  const line = text.split('\n').find((candidate) => candidate.startsWith(`quartet_node_${name} `))
  return z.coerce.number().parse(line?.split(' ')[1])
}
