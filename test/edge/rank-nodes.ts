import { scorer } from '../../edge/routing/rendezvous.ts'

/** Nodes in the order in which a key prefers them. */
export function rankNodes<N extends { readonly id: string }>(key: string, nodes: readonly N[]): N[] {
  const score = scorer(key)
  return nodes
    .map((node) => ({ node, score: score(node) }))
    .sort((a, b) => b.score - a.score || (a.node.id < b.node.id ? -1 : 1))
    .map(({ node }) => node)
}
